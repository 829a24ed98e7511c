//! A page of the long poll (2023-11 contract, Notifications). One bad entry never spoils the others: a page that could not be
//! read would come again for ever, with all that is behind it. So entries, and their fields, are cut out of the bytes first
//! ([`spans`]) and read one by one. Nothing here recurses, and a page of junk costs no memory.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::json::{Loose, Unreadable};
use super::spans;
use crate::core::call::Page;
use crate::core::ids::{Etag, NotificationId};
use crate::core::instance::{CustomData, Notification};
use crate::core::ordered;

/// Reads a page, and of it at most `limit` usable entries: the rest comes with the next poll, for the cursor stops there too.
pub(super) fn page(body: &[u8], limit: usize) -> Result<Page, Unreadable> {
    if body.is_empty() {
        return Err(Unreadable::Empty);
    }
    // The grammar only: levels cost nothing, and no text is looked at. Everything below may rely on it.
    serde_json::from_slice::<IgnoredAny>(body)
        .map_err(|error| Unreadable::NotJson { line: error.line(), column: error.column() })?;
    let fields = spans::fields(body).ok_or(Unreadable::NotObject)?;
    let Some((_, list)) = fields.filter(|(name, _)| *name == br#""notifications""#).last() else {
        return Ok(Page::default());
    };
    if list == b"null" {
        return Ok(Page::default());
    }
    let entries = spans::elements(list).ok_or_else(|| Unreadable::Shape { path: "notifications".to_owned() })?;
    let mut page = Page::default();
    for entry in entries {
        if page.notifications.len() == limit {
            break;
        }
        match Entry::read(entry) {
            Entry::Usable(notification) => {
                page.last_id = Some(notification.notification_id.clone());
                page.notifications.push(Arc::new(notification));
            }
            Entry::Unusable(id) => {
                page.unusable = page.unusable.saturating_add(1);
                // The cursor can step over an entry that cannot be used, if only its id can be read.
                page.last_id = id.or(page.last_id);
            }
        }
    }
    Ok(page)
}

enum Entry {
    Usable(Notification),
    Unusable(Option<NotificationId>),
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum EntryKey {
    NotificationId,
    Created,
    Message,
    RhUrl,
    Etag,
    CustomData,
    #[serde(other)]
    Other,
}

#[derive(Default)]
struct Fields {
    notification_id: Loose,
    created: Loose,
    message: Loose,
    rh_url: Loose,
    etag: Loose,
    custom_data: CustomData,
}

/// A value that can be read; else `None`: a text that is none (a lone surrogate, not UTF-8), a number out of range, too many
/// levels.
fn read<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

impl Entry {
    fn read(entry: &[u8]) -> Self {
        let mut fields = Fields::default();
        for (name, value) in spans::fields(entry).into_iter().flatten() {
            let loose = || read(value).unwrap_or(Loose::Other);
            match read(name) {
                Some(EntryKey::NotificationId) => fields.notification_id = loose(),
                Some(EntryKey::Created) => fields.created = loose(),
                Some(EntryKey::Message) => fields.message = loose(),
                Some(EntryKey::RhUrl) => fields.rh_url = loose(),
                Some(EntryKey::Etag) => fields.etag = loose(),
                Some(EntryKey::CustomData) => {
                    // Texts by contract: whatever else is in there is left out.
                    let texts = spans::fields(value).into_iter().flatten();
                    fields.custom_data = ordered::map(texts.filter_map(|(name, text)| read(name).zip(read(text))));
                }
                Some(EntryKey::Other) | None => {}
            }
        }
        fields.into()
    }
}

impl From<Fields> for Entry {
    /// An entry is usable if it has an id and its message is not something other than text. An absent message is an empty one: a
    /// notification is a hint, and its other fields may still say what changed (backend.md, trap 6).
    fn from(fields: Fields) -> Self {
        let id = fields.notification_id.text().and_then(|id| NotificationId::parse(&id).ok());
        let message = match fields.message {
            Loose::Text(message) => Some(message),
            Loose::Null => Some(String::new()),
            Loose::Number(_) | Loose::Other => None,
        };
        match (id, message) {
            (Some(notification_id), Some(message)) => Self::Usable(Notification {
                notification_id,
                created: fields.created.text().unwrap_or_default(),
                message,
                rh_url: fields.rh_url.text(),
                etag: fields.etag.text().and_then(|etag| Etag::parse(&etag).ok()),
                custom_data: fields.custom_data,
            }),
            (id, _) => Self::Unusable(id),
        }
    }
}
