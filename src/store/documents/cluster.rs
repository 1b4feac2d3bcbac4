//! The replica set and shards, where the engine has them.

use mongodb::bson::{Bson, Document, doc};

use super::connection::answered;
use super::{Documents, definition};
use crate::schema::documents::DATABASE;
use crate::store::StoreError;

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub id: String,
    /// Where it is.
    pub host: String,
    /// Whether the router takes it for whole.
    pub is_up: bool,
}

fn not_sharded() -> StoreError {
    StoreError::Unsupported {
        engine: "the document store".to_owned(),
        what: "shards",
        way: "the appliance runs one node, which holds every collection whole; shards are for a \
              cluster behind mongos",
    }
}

impl Documents {
    async fn admin(&self, command: Document) -> Result<Document, StoreError> {
        let admin = self.connection.client().await?.database("admin");
        answered(async { admin.run_command(command).await }).await
    }

    /// Members of the replica set and their states.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] where the engine has none.
    pub async fn replica_set(&self) -> Result<Document, StoreError> {
        match self.admin(doc! { "replSetGetStatus": 1 }).await {
            Ok(told) => Ok(told),
            Err(error @ (StoreError::Down { .. } | StoreError::Slow { .. })) => Err(error),
            Err(_) => Err(StoreError::Unsupported {
                engine: "this document engine".to_owned(),
                what: "replica set",
                way: "run mongod with a replica set for one",
            }),
        }
    }

    /// Shards behind the store; `None` where it is one node.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn shards(&self) -> Result<Option<Vec<Shard>>, StoreError> {
        // A router says so of itself (MongoDB manual, `hello`).
        let hello = self.admin(doc! { "hello": 1 }).await?;
        if !hello.get_str("msg").is_ok_and(|said| said == "isdbgrid") {
            return Ok(None);
        }
        let told = self.admin(doc! { "listShards": 1 }).await?;
        let shards = told.get_array("shards").ok().into_iter().flatten();
        let shards = shards.filter_map(Bson::as_document).map(|shard| Shard {
            id: shard.get_str("_id").unwrap_or_default().to_owned(),
            host: shard.get_str("host").unwrap_or_default().to_owned(),
            is_up: shard.get_i32("state").is_ok_and(|state| state == 1),
        });
        Ok(Some(shards.collect()))
    }

    async fn sharded(&self, command: Document) -> Result<(), StoreError> {
        if self.shards().await?.is_none() {
            return Err(not_sharded());
        }
        self.admin(command).await.map(|_| ())
    }

    /// Lets collections of the platform's database be spread over shards.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] where the store is one node.
    pub async fn enable_sharding(&self) -> Result<(), StoreError> {
        self.sharded(doc! { "enableSharding": DATABASE }).await
    }

    /// Spreads a collection over shards by `keys`: 1, -1 or `hashed`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unsupported`] where the store is one node.
    pub async fn shard_collection(
        &self,
        name: &str,
        keys: &[(String, Bson)],
        unique: bool,
    ) -> Result<(), StoreError> {
        let known = definition(name)?;
        let keys: Document = keys.iter().cloned().collect();
        let namespace = format!("{DATABASE}.{}", known.name);
        self.sharded(doc! { "shardCollection": namespace, "key": keys, "unique": unique })
            .await
    }
}
