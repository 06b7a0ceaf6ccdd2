//! Whether a library may be put into force by who signed it. Looked at before any of its code runs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gantry_settings::Settings;
use gantry_signature::{PublicKey, SignatureError, verify};

/// Where the signature of a library is: the same path with `.sig` behind it.
pub(crate) fn signature_path(library: &Path) -> PathBuf {
    let mut path = library.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// Refuses a library that is not signed by one of `service.signers`, if there are any. `build` is the hash of its file.
pub(super) fn check(settings: &Settings, library: &Path, build: &str) -> anyhow::Result<()> {
    let signers = &settings.service.signers;
    if signers.is_empty() {
        return Ok(());
    }
    let not_taken = || format!("{} is not taken", library.display());
    let keys = signers.iter().map(|signer| signer.parse());
    let keys = keys.collect::<Result<Vec<PublicKey>, SignatureError>>().context("service.signers")?;
    let path = signature_path(library);
    let signature = match std::fs::read_to_string(&path) {
        Ok(signature) => signature,
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "{} is not signed, and service.signers asks for it: there is no {}; make it with `gantry key sign KEY {}`",
            library.display(),
            path.display(),
            library.display()
        ),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("{} cannot be read", path.display()))
                .with_context(not_taken);
        }
    };
    let signer = verify(&keys, &build.parse()?, &signature)
        .with_context(|| format!("signature {}", path.display()))
        .with_context(not_taken)?;
    tracing::debug!(library = %library.display(), %signer, "the signature is good");
    Ok(())
}
