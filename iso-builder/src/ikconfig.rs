//! The configuration that a kernel carries inside, as `/proc/config.gz` shows it.
//!
//! Source: Linux, Documentation/arch/x86/boot.rst (setup header), kernel/configs.c (the marks).

use std::io::Read as _;

use anyhow::{Context, Result, ensure};
use flate2::bufread::GzDecoder;

/// Mark of a bzImage, and where it is.
const MAGIC: (usize, &[u8; 4]) = (0x202, b"HdrS");

/// Byte with the number of setup sectors.
const SETUP_SECTORS: usize = 0x1f1;

/// Where the packed kernel lies behind the setup sectors: offset and length, 32 bits each.
const PAYLOAD: (usize, usize) = (0x248, 0x24c);

/// Beginning of zstd data.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What stands before and after the configuration.
const MARKS: (&[u8; 8], &[u8; 8]) = (b"IKCFG_ST", b"IKCFG_ED");

/// Returns the configuration inside a bzImage.
///
/// # Errors
/// When it is no bzImage, is packed with something else than zstd, or has no configuration.
pub fn of(image: &[u8]) -> Result<String> {
    let kernel = unpack(image).context("unpacking the kernel")?;
    let start = find(&kernel, MARKS.0).context("the kernel carries no configuration")? + MARKS.0.len();
    let length = find(&kernel[start..], MARKS.1).context("the kernel's configuration has no end")?;
    let mut text = String::new();
    GzDecoder::new(&kernel[start..start + length])
        .read_to_string(&mut text)
        .context("unpacking the kernel's configuration")?;
    Ok(text)
}

fn unpack(image: &[u8]) -> Result<Vec<u8>> {
    let at = |offset: usize, length: usize| {
        image.get(offset..offset + length).context("it is no bzImage: it is too short")
    };
    ensure!(at(MAGIC.0, 4)? == MAGIC.1, "it is no bzImage");
    let number =
        |offset| at(offset, 4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")));
    // Zero means four, from the days of floppy disks.
    let sectors = match at(SETUP_SECTORS, 1)?[0] {
        0 => 4,
        other => usize::from(other),
    };
    let start = (sectors + 1) * 512 + number(PAYLOAD.0)? as usize;
    let payload = at(start, number(PAYLOAD.1)? as usize)?;
    ensure!(payload.starts_with(&ZSTD), "it is packed with something else than zstd");
    // Behind the packed kernel stands its length, which is no zstd data.
    let mut kernel = Vec::new();
    zstd::Decoder::with_buffer(payload)?.single_frame().read_to_end(&mut kernel)?;
    Ok(kernel)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A bzImage whose kernel is `kernel`.
    fn image(kernel: &[u8]) -> Vec<u8> {
        let mut payload = zstd::encode_all(kernel, 1).unwrap();
        payload.extend((kernel.len() as u32).to_le_bytes());
        let mut image = vec![0; 1024];
        image[MAGIC.0..MAGIC.0 + 4].copy_from_slice(MAGIC.1);
        image[SETUP_SECTORS] = 1;
        image[PAYLOAD.1..PAYLOAD.1 + 4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend(payload);
        image
    }

    #[test]
    fn the_configuration_comes_out_and_what_has_none_says_so() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"CONFIG_X=y\n").unwrap();
        let with = [b"code", &MARKS.0[..], &packed.finish().unwrap(), MARKS.1, b"code"].concat();
        assert_eq!(of(&image(&with)).unwrap(), "CONFIG_X=y\n");
        let error = |bytes: &[u8]| format!("{:#}", of(bytes).unwrap_err());
        assert_eq!(error(&image(b"code")), "the kernel carries no configuration");
        assert_eq!(error(b"text"), "unpacking the kernel: it is no bzImage: it is too short");
        assert_eq!(error(&[0; 4096]), "unpacking the kernel: it is no bzImage");
    }
}
