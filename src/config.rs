//! The configuration, in three stages: what was written (`raw`), what it adds up to (`merge`), what the program uses
//! (`settings`).

pub mod secret;
pub mod settings;

pub use settings::Settings;
