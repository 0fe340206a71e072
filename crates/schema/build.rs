//! Compiles the storage schema without `protoc`: protox parses, prost generates.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked when it runs: see crates/proto/build.rs.
    let root = format!("{}/../../proto", std::env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo:rerun-if-changed={root}/millrace/storage");
    let files = ["groups", "metadata", "quorum"].map(|name| format!("millrace/storage/v1/{name}.proto"));
    let descriptors = protox::compile(files, [&root])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
