//! What the entities of Lucid need of the datastores: made and kept up to date by
//! `lucid schema apply`.

pub mod documents;
pub mod search;
