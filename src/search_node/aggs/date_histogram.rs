//! `date_histogram`: a bucket for each span of time.

use serde_json::{Map, Value};

use super::bounds::{Ends, Style, check, empty, fill};
use super::buckets::{as_parts, of_codes};
use super::codes::Coded;
use super::context::Ctx;
use super::key::{Key, Show};
use super::order::Order;
use super::params::Params;
use super::part::{Bucket, Part};
use super::rounding::Rounding;
use super::source::{Source, numbers};
use super::target::Target;
use super::tree::{Agg, End, Node, Rows};
use crate::search_node::dates::Formats;
use crate::search_node::failure::Outcome;

/// See the module.
#[derive(Debug)]
struct DateHistogram {
    target: Target,
    rounding: Rounding,
    min_doc_count: u64,
    extended: Option<Limits>,
    hard: Option<Limits>,
    style: Style,
}

/// `min` and `max` as the request has them.
#[derive(Debug)]
struct Limits {
    name: &'static str,
    min: Option<Value>,
    max: Option<Value>,
}

/// Reads `date_histogram`; `subs` are the aggregations in its buckets.
pub(super) fn parse(params: &Params<'_>, subs: &[Node]) -> Outcome<Box<dyn Agg>> {
    let target = Target::dated(params)?;
    Ok(Box::new(DateHistogram {
        rounding: Rounding::parse(params, target.zone.clone())?,
        target,
        min_doc_count: params.count("min_doc_count")?.unwrap_or(0),
        extended: Limits::parse(params, "extended_bounds")?,
        hard: Limits::parse(params, "hard_bounds")?,
        style: Style {
            keyed: params.flag("keyed", false)?,
            order: Order::parse(params, subs, Order::by_key())?,
        },
    }))
}

impl Limits {
    fn parse(params: &Params<'_>, key: &'static str) -> Outcome<Option<Self>> {
        let Some(inner) = params.object(key)? else {
            return Ok(None);
        };
        let limits = Self {
            name: key,
            min: inner.get("min").cloned(),
            max: inner.get("max").cloned(),
        };
        inner.finish()?;
        Ok(Some(limits))
    }

    /// The starts of the buckets of both ends, as if there were no offset.
    fn round(&self, name: &str, of: &DateHistogram, show: &Show, now: i64) -> Outcome<Ends<i64>> {
        let formats = match show {
            Show::Date(formats, _) => formats.clone(),
            _ => Formats::default(),
        };
        let date = |value: &Option<Value>| {
            let value = value.as_ref();
            let date = value.map(|value| match value.as_i64() {
                // Numbers are instants, whatever the format is.
                Some(millis) => Ok(millis),
                None => of.target.date(value, &formats, now),
            });
            date.transpose()
        };
        let (min, max) = (date(&self.min)?, date(&self.max)?);
        check(name, self.name, min, max)?;
        let rounding = of.rounding.without_offset();
        Ok(Ends {
            min: min.map(|min| rounding.floor(min)),
            max: max.map(|max| rounding.floor(max)),
        })
    }
}

impl DateHistogram {
    fn codes(
        &self,
        node: &Node,
        ctx: &Ctx<'_>,
        source: &Source<'_>,
        rows: &Rows<'_>,
    ) -> Outcome<Coded> {
        let Some((mut values, mut low, mut high)) = source.ints(rows.docs)? else {
            return Ok(Coded::none());
        };
        if let Some(hard) = &self.hard {
            let ends = hard.round(&node.name, self, &source.show, ctx.host.now())?;
            let (min, max) = (ends.min.unwrap_or(i64::MIN), ends.max.unwrap_or(i64::MAX));
            // The end is not included, and a bucket is as far inside as its start.
            values.retain(|value| {
                let start = self.rounding.floor(value);
                start >= min && start < max
            });
            low = values.list.iter().copied().min().unwrap_or(low);
            high = values.list.iter().copied().max().unwrap_or(low);
        }
        Ok(self.rounding.codes(values, low, high))
    }
}

impl Agg for DateHistogram {
    fn collect(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let source = Source::open(ctx, &self.target, "date_histogram", numbers)?;
        let coded = self.codes(node, ctx, &source, rows)?;
        let all = of_codes(node, ctx, rows, &coded, &[])?;
        Ok(as_parts(all, &source.show))
    }

    fn finish(&self, node: &Node, part: Part, end: &End<'_>) -> Outcome<Map<String, Value>> {
        let (mut list, show) = match part {
            Part::Buckets(buckets) => {
                let show = buckets.shows.into_iter().next();
                (buckets.list, show.unwrap_or_default())
            }
            _ => (Vec::new(), self.target.show(None)?.into()),
        };
        list.retain(|bucket| bucket.count >= self.min_doc_count);
        for _ in &list {
            end.bucket()?;
        }
        if self.min_doc_count == 0 {
            let mut ends = Ends {
                min: None,
                max: None,
            };
            if let Some(extended) = &self.extended {
                ends = extended.round(&node.name, self, &show, end.now())?;
                let moved = |at: i64| at.saturating_add(self.rounding.offset);
                ends = Ends {
                    min: ends.min.map(moved),
                    max: ends.max.map(moved),
                };
            }
            let start = |bucket: &Bucket| match bucket.key {
                Key::Int(start) => Some(start),
                _ => None,
            };
            let make = |start| Bucket {
                key: Key::Int(start),
                count: 0,
                subs: empty(node),
            };
            list = fill(
                list,
                ends,
                start,
                |start| self.rounding.next(start),
                make,
                end,
            )?;
        }
        self.style.render(node, list, &show, end)
    }
}
