//! Every planted bug is caught.
#![cfg(feature = "teeth")]
