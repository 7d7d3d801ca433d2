//! b2d-sys
