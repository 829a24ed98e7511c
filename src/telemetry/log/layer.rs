//! The layer between tracing and the writer: collects the fields of an event and of the spans around it, makes the line,
//! hands it over.

use std::sync::Arc;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::line::{self, Fields};
use super::writer::Writer;
use crate::clock;
use crate::config::settings::LogFormat;

/// Turns events into lines.
#[derive(Debug)]
pub(super) struct LineLayer {
    format: LogFormat,
    writer: Arc<Writer>,
}

impl LineLayer {
    pub(super) fn new(format: LogFormat, writer: Arc<Writer>) -> Self {
        Self { format, writer }
    }
}

impl<S> Layer<S> for LineLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // From the nearest span outwards.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.inherit(outer);
            }
        }
        let metadata = event.metadata();
        self.writer.push(line::render(self.format, clock::wall(), *metadata.level(), metadata.target(), &fields));
    }
}
