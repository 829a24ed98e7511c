//! The store on a disk that fails, loses power and tells lies.

mod bounds;
mod crash;
mod damage;
mod fake;
mod faults;
mod handle;
mod script;
