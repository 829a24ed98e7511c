//! Tests: metrics. What a scraper gets from the real program, what promtool and Prometheus make of it, and whether the alerts
//! and the dashboard of `container/` ask for what there is.

mod live;
mod page;
mod rules;
mod scrape;
mod text;
mod tools;
