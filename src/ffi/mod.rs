//! ffi

pub(crate) mod bindings;
