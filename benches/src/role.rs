//! A measurement that starts its own binary again, as a server that sets a ceiling.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{barerpc, rawserver};

/// Serves if this process was started as a server; tells whether it was.
///
/// # Errors
/// The server's.
pub fn play() -> Result<bool> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("--raw-server") => {
            let folder = arguments.next().context("--raw-server needs a folder")?;
            rawserver::serve(Path::new(&folder))?;
        }
        Some("--bare-rpc") => barerpc::serve()?,
        _ => return Ok(false),
    }
    Ok(true)
}
