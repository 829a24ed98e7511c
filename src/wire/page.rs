//! A page of the long poll (2023-11 contract, Notifications). One bad entry never spoils the others: entries are read one by one,
//! straight from the bytes, so that a page of junk costs no memory either.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::json::{self, Loose, Unreadable};
use crate::core::call::Page;
use crate::core::ids::{Etag, NotificationId};
use crate::core::instance::Notification;

/// Reads a page, and of it at most `limit` usable entries: the rest comes with the next poll, for the cursor stops there too.
pub(super) fn page(body: &[u8], limit: usize) -> Result<Page, Unreadable> {
    json::read(body, |json| json.deserialize_map(Top { limit }).map_err(|_wrong| "notifications".to_owned()))
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum TopKey {
    Notifications,
    #[serde(other)]
    Other,
}

struct Top {
    limit: usize,
}

impl<'de> Visitor<'de> for Top {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of notifications")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Page, A::Error> {
        let mut page = Page::default();
        while let Some(key) = map.next_key()? {
            match key {
                TopKey::Notifications => page = map.next_value_seed(Entries { limit: self.limit })?,
                TopKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(page)
    }
}

struct Entries {
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for Entries {
    type Value = Page;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Page, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of notifications")
    }

    fn visit_unit<E>(self) -> Result<Page, E> {
        Ok(Page::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Page, A::Error> {
        let mut page = Page::default();
        while page.notifications.len() < self.limit {
            match list.next_element()? {
                Some(Entry::Usable(notification)) => {
                    page.last_id = Some(notification.notification_id.clone());
                    page.notifications.push(Arc::new(notification));
                }
                Some(Entry::Unusable(id)) => {
                    page.unusable = page.unusable.saturating_add(1);
                    // The cursor can step over an entry that cannot be used, if only its id can be read.
                    page.last_id = id.or(page.last_id);
                }
                None => return Ok(page),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(page)
    }
}

enum Entry {
    Usable(Notification),
    Unusable(Option<NotificationId>),
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(EntryVisitor)
    }
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
    custom_data: Loose,
}

impl From<Fields> for Entry {
    /// An entry is usable if it has an id and its message is not something other than text. An absent message is an empty one: a
    /// notification is a hint, and its other fields may still say what changed (backend.md, trap 6).
    fn from(fields: Fields) -> Self {
        let id = fields.notification_id.text().and_then(|id| NotificationId::parse(&id).ok());
        let message = match fields.message {
            Loose::Text(message) => Some(message),
            Loose::Null => Some(String::new()),
            Loose::Number(_) | Loose::Object(_) | Loose::Other => None,
        };
        match (id, message) {
            (Some(notification_id), Some(message)) => Self::Usable(Notification {
                notification_id,
                created: fields.created.text().unwrap_or_default(),
                message,
                rh_url: fields.rh_url.text(),
                etag: fields.etag.text().and_then(|etag| Etag::parse(&etag).ok()),
                custom_data: fields.custom_data.custom_data(),
            }),
            (id, _) => Self::Unusable(id),
        }
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a notification")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Entry, E> {
        Ok(Entry::Unusable(None))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Entry, E> {
        Ok(Entry::Unusable(None))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Entry, E> {
        Ok(Entry::Unusable(None))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Entry, E> {
        Ok(Entry::Unusable(None))
    }
    fn visit_str<E>(self, _: &str) -> Result<Entry, E> {
        Ok(Entry::Unusable(None))
    }
    fn visit_unit<E>(self) -> Result<Entry, E> {
        Ok(Entry::Unusable(None))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entry, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Entry::Unusable(None))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        // By hand, because the derived way gives up the whole page when a field stands there twice.
        let mut fields = Fields::default();
        while let Some(key) = map.next_key()? {
            match key {
                EntryKey::NotificationId => fields.notification_id = map.next_value()?,
                EntryKey::Created => fields.created = map.next_value()?,
                EntryKey::Message => fields.message = map.next_value()?,
                EntryKey::RhUrl => fields.rh_url = map.next_value()?,
                EntryKey::Etag => fields.etag = map.next_value()?,
                EntryKey::CustomData => fields.custom_data = map.next_value()?,
                EntryKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields.into())
    }
}
