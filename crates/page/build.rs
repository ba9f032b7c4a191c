//! Compresses `ui/dist` and writes the table of its files, so that the binary needs no file beside it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var(name).map_err(io::Error::other);
    let dist = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../../ui/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    let out = PathBuf::from(variable("OUT_DIR")?);
    let mut files = Vec::new();
    walk(&dist, &mut files)?;
    files.sort();
    let mut table = String::from("pub(crate) static ASSETS: &[Asset] = &[\n");
    for (number, file) in files.iter().enumerate() {
        let bytes = fs::read(file)?;
        let path = file.strip_prefix(&dist).map_err(io::Error::other)?.to_string_lossy().replace('\\', "/");
        let hash: String = Sha256::digest(&bytes).iter().take(12).map(|b| format!("{b:02x}")).collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        let compressed = out.join(format!("{number}.gz"));
        fs::write(&compressed, encoder.finish()?)?;
        let content_type = match path.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("json") => "application/json",
            Some("svg") => "image/svg+xml",
            _ => "application/octet-stream",
        };
        let _ = writeln!(
            table,
            "Asset {{ path: {:?}, content_type: {content_type:?}, etag: {:?}, gzip: include_bytes!({:?}) }},",
            format!("/{path}"),
            format!("\"{hash}\""),
            compressed.display().to_string(),
        );
    }
    table.push_str("];\n");
    fs::write(out.join("assets.rs"), table)
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { walk(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
