//! Metrics: what is counted, and the text that Prometheus reads.
//!
//! | file | job |
//! |---|---|
//! | `list` | the declaration of each metric |
//! | `value` | counts and histograms |
//! | `series` | what streams count, by their labels |
//! | `page` | the text |
//!
//! Workers count; the page is written on the thread that asks for it. The media thread counts in [`crate::media`], per stream, and
//! knows nothing of this.

pub mod list;
mod page;
mod series;
mod value;

pub use list::{Kind, METRICS, Metric};
pub use page::Page;
pub use series::{AllSeries, NO_PROFILE, Series, SeriesKey};
pub use value::{Distribution, Histogram, Outcomes};
