//! The table of errors in the documentation, written from the code.

use std::fmt::Write;

use millrace_types::{ErrorCode, Outcome};

use crate::grpc_code;

const HEAD: &str = "# Errors

Every failed call answers `google.rpc.Status`; its details (`grpc-status-details-bin`) hold one `millrace.v1.Error`.
Calls about many partitions succeed as a whole and carry a `millrace.v1.Error` for each partition that failed.

- **Definite**: the request had no effect and will have none. **Indefinite**: it may have had one, or may still have;
  an idempotent producer sends the same sequence again, everybody else has to look.
- **Retry**: whether the same request may succeed later without a change.
- A client that meets a number it does not know goes by `outcome` and `retriable`, which every error carries.
- The gRPC code is what generic tools see when the whole call failed. The error code says more.

Numbers are never reused. This page is generated: `MILLRACE_BLESS=1 cargo test -p millrace-grpc --test error_page`.

| number | name | outcome | retry | gRPC code | meaning |
|--:|---|---|---|---|---|
";

/// The page `docs/errors.md`.
#[must_use]
pub fn error_page() -> String {
    let mut page = HEAD.to_owned();
    for code in ErrorCode::ALL {
        let outcome = match code.outcome() {
            Outcome::Definite => "definite",
            Outcome::Indefinite => "indefinite",
        };
        let retry = if code.is_retriable() { "yes" } else { "no" };
        // Writing to a String cannot fail.
        let _ok = writeln!(
            page,
            "| {} | `{}` | {outcome} | {retry} | {} | {} |",
            code.number(),
            code.name(),
            capitals(grpc_code(*code)),
            code.meaning()
        );
    }
    page
}

/// `Code::NotFound` as gRPC's documentation writes it: `NOT_FOUND`.
fn capitals(code: tonic::Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}
