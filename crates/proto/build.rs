//! Compiles the native API without `protoc`: protox parses, tonic and prost generate.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script runs on the developer's machine, not in an Env"
)]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked when it runs: a build script that was compiled in another checkout knows only that one's path.
    let root = format!("{}/../../proto", std::env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo:rerun-if-changed={root}/millrace/v1");
    println!("cargo:rerun-if-changed={root}/millrace/internal");
    let descriptors = protox::compile(["millrace/v1/millrace.proto"], [&root])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost_bytes(&descriptors))?;
    tonic_prost_build::configure().bytes(".").codec_path("crate::CheckedCodec").compile_fds(descriptors)?;
    // What brokers say to each other has no descriptors: nobody else is to find it by reflection.
    let internal = protox::compile(["millrace/internal/v1/internal.proto"], [&root])?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .codec_path("crate::CheckedCodec")
        .extern_path(".millrace.v1", "crate::v1")
        .compile_fds(internal)?;
    Ok(())
}

fn prost_bytes(descriptors: &impl prost::Message) -> Vec<u8> {
    descriptors.encode_to_vec()
}
