//! A store without a disk, for the demo and for tests: it takes everything at once and forgets it with the process.

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::durable::{Durable, Record};
use crate::core::event::StoreFault;
use crate::core::ids::InstanceName;
use crate::ports::Store;

/// Remembers in memory. Clones share what they remember.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<BTreeMap<InstanceName, Durable>>>,
}

impl MemoryStore {
    /// What it would recover now.
    pub fn recovered(&self) -> BTreeMap<InstanceName, Durable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store for MemoryStore {
    fn append(
        &self,
        instance: &InstanceName,
        records: Vec<Record>,
    ) -> impl Future<Output = Result<(), StoreFault>> + Send + 'static {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let durable = state.entry(instance.clone()).or_default();
        records.iter().for_each(|record| durable.apply(record));
        ready(Ok(()))
    }

    fn recall(&self, instance: &InstanceName) -> impl Future<Output = Result<Durable, StoreFault>> + Send + 'static {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        ready(Ok(state.get(instance).cloned().unwrap_or_default()))
    }
}
