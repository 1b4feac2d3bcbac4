//! One word in several spellings: each counts as if it were as frequent as the most frequent one,
//! so that a rare slip of the pen is not worth more than the word itself.

use tantivy::query::{
    Bm25StatisticsProvider, BooleanQuery, BoostQuery, EnableScoring, Occur, Query, TermQuery,
    Weight,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{Score, Term};

/// See the module. Scores of spellings that a document has are added up, as Lucene does.
#[derive(Debug, Clone)]
pub(super) struct BlendedQuery {
    /// Each with what its score is multiplied with.
    pub(super) spellings: Vec<(Term, Score)>,
    /// What is read of each.
    pub(super) record: IndexRecordOption,
}

impl Query for BlendedQuery {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        let clauses = self.spellings.iter().map(|(term, boost)| {
            let one = TermQuery::new(term.clone(), self.record);
            let one: Box<dyn Query> = Box::new(BoostQuery::new(Box::new(one), *boost));
            (Occur::Should, one)
        });
        let union = BooleanQuery::new(clauses.collect());
        let EnableScoring::Enabled {
            searcher,
            statistics_provider,
        } = scoring
        else {
            return union.weight(scoring);
        };
        let frequencies = self.spellings.iter();
        let frequencies: tantivy::Result<Vec<u64>> = frequencies
            .map(|(term, _)| statistics_provider.doc_freq(term))
            .collect();
        let blend = Blend {
            inner: statistics_provider,
            frequency: frequencies?.into_iter().max().unwrap_or(0),
        };
        union.weight(EnableScoring::enabled_from_statistics_provider(
            &blend, searcher,
        ))
    }
}

/// Statistics in which every term is in so many documents.
struct Blend<'a> {
    inner: &'a dyn Bm25StatisticsProvider,
    frequency: u64,
}

impl Bm25StatisticsProvider for Blend<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        self.inner.total_num_tokens(field)
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        self.inner.total_num_docs()
    }

    fn doc_freq(&self, _: &Term) -> tantivy::Result<u64> {
        Ok(self.frequency)
    }
}
