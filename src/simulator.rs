//! A RallyHere environment in memory, with faults on demand.
