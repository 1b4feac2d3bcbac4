//! What is kept for a number of days only, where that is a setting and no index.

use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc};

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
                    .find_one(doc! { "key": key })
                    .await
            })
            .await?;
            let days = setting
                .as_ref()
                .and_then(|setting| setting.get("value"))
                .and_then(|value| value.as_i64().or_else(|| value.as_i32().map(i64::from)))
                .filter(|days| DAYS.contains(days))
                .and_then(|days| u32::try_from(days).ok())
                .unwrap_or(retention.days);
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
