//! Logs: for people on a terminal, JSON otherwise; always on standard error.

use std::io::IsTerminal;

use anyhow::Context;
use millrace_server::config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Installs the subscriber. `level` is a filter such as `info` or `millrace_log=debug`.
///
/// # Errors
/// The filter cannot be read.
pub(crate) fn install(level: &str, format: LogFormat) -> anyhow::Result<()> {
    // What consensus says of each of its steps is for whoever asks for it; what comes of them we say ourselves.
    let filter = EnvFilter::try_new(format!("openraft=off,{level}"));
    let filter = filter.with_context(|| format!("log level {level:?}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let for_people = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    if for_people {
        builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).init();
    } else {
        builder.json().flatten_event(true).init();
    }
    Ok(())
}
