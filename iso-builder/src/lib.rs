//! iso-builder
