//! What is kept for a number of days only, where that is a setting and no index.

use std::time::Duration;

use mongodb::bson::{Bson, DateTime, Document, doc};

use super::Documents;
use super::connection::answered;
use crate::schema::documents as schema;
use crate::store::StoreError;

/// Days that a setting may ask for.
const DAYS: std::ops::RangeInclusive<i64> = 30..=3650;
const DAY: Duration = Duration::from_secs(86_400);

/// What was removed from one collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// The collection.
    pub collection: String,
    /// Days that are kept.
    pub days: u32,
    /// Documents that were older.
    pub removed: u64,
}

/// The days that a setting asks for; longer than the longest is the longest.
fn days_of(setting: &Document) -> Option<u32> {
    let days = match setting.get("value")? {
        Bson::Int32(days) => i64::from(*days),
        Bson::Int64(days) => *days,
        // Clients of JSON write 365.0 for 365.
        #[allow(clippy::cast_possible_truncation)]
        Bson::Double(days) if days.fract() == 0.0 => *days as i64,
        _ => return None,
    };
    let days = days.min(*DAYS.end());
    u32::try_from(days).ok().filter(|_| DAYS.contains(&days))
}

impl Documents {
    /// Removes what is older than it is to be kept: by the setting `{name}_retention_days` in
    /// `system_config` such as `audit_log_retention_days`, else by the collection's own.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn expire(&self) -> Result<Vec<Expired>, StoreError> {
        let database = self.connection.database().await?;
        let mut done = Vec::new();
        for collection in schema::all().unwrap_or_default() {
            let Some(retention) = &collection.retention else {
                continue;
            };
            let key = format!("{}_retention_days", collection.name.trim_end_matches('s'));
            let setting = answered(async {
                database
                    .collection::<Document>("system_config")
                    .find_one(doc! { "key": &key })
                    .await
            })
            .await?;
            let days = match setting.as_ref().map(days_of) {
                None => retention.days,
                Some(Some(days)) => days,
                // Whoever set it wants something else than the default, and what is gone is gone.
                Some(None) => {
                    tracing::warn!(
                        "system_config {key} is no number of days from {} to {}: nothing of {} is \
                         removed until it is",
                        DAYS.start(),
                        DAYS.end(),
                        collection.name
                    );
                    continue;
                }
            };
            let oldest = std::time::SystemTime::now()
                .checked_sub(DAY * days)
                .unwrap_or(std::time::UNIX_EPOCH);
            let older =
                doc! { retention.field.as_str(): { "$lt": DateTime::from_system_time(oldest) } };
            let gone = answered(async {
                database
                    .collection::<Document>(&collection.name)
                    .delete_many(older)
                    .await
            })
            .await?;
            done.push(Expired {
                collection: collection.name.clone(),
                days,
                removed: gone.deleted_count,
            });
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_not_understood_is_none() {
        assert_eq!(days_of(&doc! { "value": 365 }), Some(365));
        assert_eq!(days_of(&doc! { "value": 365.0 }), Some(365));
        assert_eq!(days_of(&doc! { "value": 7300_i64 }), Some(3650));
        for bad in [
            doc! { "value": "365" },
            doc! { "value": 1 },
            doc! { "value": 30.5 },
            doc! {},
        ] {
            assert_eq!(days_of(&bad), None, "{bad}");
        }
    }
}
