//! Disk images: raw, sparse, with a data file system on the whole disk or on a partition.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use b2d_sys::contract::DATA_LABEL;
use gpt::GptConfig;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types;
use sha2::{Digest, Sha256};

use crate::{Deadline, Lab, child};

/// Size of every image: room for a few images of a few MB, and enough for ext4 to lay itself out as on real disks.
const IMAGE_BYTES: u64 = 2 << 30;

/// Unit of the partition table.
const SECTOR_BYTES: u64 = 512;

/// Where a partition starts; every partitioning program aligns to this.
const PARTITION_BYTES: u64 = 1 << 20;

/// Space at the end that the second copy of the partition table needs, rounded up.
const TABLE_BYTES: u64 = 1 << 20;

/// Bytes per inode, as boot2docker has always made data disks: overlay needs many inodes.
const BYTES_PER_INODE: &str = "8192";

/// Size of a block of the file systems made here.
const BLOCK_BYTES: u64 = 4096;

/// Read or written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Making or checking a file system takes a second or two.
const TOOL_LIMIT: Duration = Duration::from_secs(120);

/// A sparse file of some hundred MB.
const COPY_LIMIT: Duration = Duration::from_secs(120);

/// Where on the disk the file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// From byte 0, without partition table.
    WholeDisk,
    /// On the only partition of a GPT.
    Partition,
    /// Wherever the guest has put it.
    At {
        /// Unit: bytes.
        start: u64,
        /// Unit: bytes.
        length: u64,
    },
}

/// A raw disk image in the folder of a test.
#[derive(Debug, Clone)]
pub struct Image {
    path: PathBuf,
    layout: Layout,
}

impl Image {
    /// Makes a disk that holds zeros only.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn blank(lab: &Lab, name: &str) -> Result<Self> {
        let path = lab.folder().join(format!("{name}.img"));
        File::create(&path)
            .and_then(|file| file.set_len(IMAGE_BYTES))
            .with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path, layout: Layout::WholeDisk })
    }

    /// Makes a disk with an empty data file system.
    ///
    /// # Errors
    /// When the file cannot be made or formatted.
    pub fn data(lab: &Lab, name: &str, layout: Layout) -> Result<Self> {
        Self::data_with(lab, name, layout, &[])
    }

    /// Makes a disk with an ext4 file system over all of it, with this label and `files` as [`Image::data_with`].
    ///
    /// # Errors
    /// When the files cannot be made or formatted.
    pub fn ext4(lab: &Lab, name: &str, label: &str, files: &[(&str, &[u8])]) -> Result<Self> {
        let image = Self::blank(lab, name)?;
        image.format(lab, label, files)?;
        Ok(image)
    }

    /// Makes a disk with a data file system that holds `files`: paths from its root, such as
    /// `var/lib/boot2docker/profile`, and their content.
    ///
    /// # Errors
    /// When the files cannot be made or formatted.
    pub fn data_with(lab: &Lab, name: &str, layout: Layout, files: &[(&str, &[u8])]) -> Result<Self> {
        let image = Self { layout, ..Self::blank(lab, name)? };
        if layout == Layout::Partition {
            image.partition().with_context(|| format!("partitioning {}", image.path.display()))?;
        }
        image.format(lab, DATA_LABEL, files)?;
        Ok(image)
    }

    /// Copies what is on the disk now. The machine that uses it must stand still.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn copy(&self, lab: &Lab, name: &str) -> Result<Self> {
        let path = lab.folder().join(format!("{name}.img"));
        let mut cp = Command::new("cp");
        cp.arg("--sparse=always").arg(&self.path).arg(&path);
        child::run_ok(cp, b"", Deadline::host(COPY_LIMIT))?;
        Ok(Self { path, layout: self.layout })
    }

    /// Makes a disk of `size_bytes` bytes that holds `parts`, bytes with their places, and zeros between.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn with_bytes(lab: &Lab, name: &str, size_bytes: u64, parts: &[(u64, &[u8])]) -> Result<Self> {
        let image = Self::blank(lab, name)?;
        image.resize(size_bytes)?;
        let file = image.open()?;
        for (at, bytes) in parts {
            file.write_all_at(bytes, *at).with_context(|| format!("writing {}", image.path.display()))?;
        }
        Ok(image)
    }

    /// Makes a disk from a compressed image of this project, with `size_bytes` bytes in all.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn from_fixture(lab: &Lab, name: &str, fixture: &str, size_bytes: u64) -> Result<Self> {
        let image = Self::blank(lab, name)?;
        image.resize(size_bytes)?;
        let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture);
        let unpack = || -> io::Result<()> {
            let mut content = zstd::Decoder::new(File::open(&packed)?)?;
            let (file, mut at) = (File::options().write(true).open(&image.path)?, 0);
            let mut chunk = vec![0; CHUNK_BYTES];
            loop {
                let count = content.read(&mut chunk)?;
                if count == 0 {
                    return Ok(());
                }
                // Zeros are there already; not writing them keeps the file sparse.
                if chunk[..count].iter().any(|&byte| byte != 0) {
                    file.write_all_at(&chunk[..count], at)?;
                }
                at += count as u64;
            }
        };
        unpack().with_context(|| format!("unpacking {}", packed.display()))?;
        Ok(image)
    }

    /// Returns the disk at `path`, whatever it holds, which was formatted by the guest or will be: data on the first
    /// partition of its GPT.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn formatted(path: &Path) -> Result<Self> {
        let table = GptConfig::new()
            .open(path)
            .with_context(|| format!("reading the table of {}", path.display()))?;
        let data = table.partitions().get(&1).context("finding partition 1")?;
        let (start, length) =
            (data.first_lba * SECTOR_BYTES, (data.last_lba - data.first_lba + 1) * SECTOR_BYTES);
        Ok(Self { path: path.to_path_buf(), layout: Layout::At { start, length } })
    }

    /// Gives the disk another size; what is beyond it is gone, what is new is zeros.
    ///
    /// # Errors
    /// When the file cannot be changed.
    pub fn resize(&self, size_bytes: u64) -> Result<()> {
        let resized = self.open()?.set_len(size_bytes);
        resized.with_context(|| format!("resizing {}", self.path.display()))
    }

    /// Returns the SHA-256 of all bytes of the disk.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn hash(&self) -> Result<String> {
        let (mut file, mut hash) = (self.open()?, Sha256::new());
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = file.read(&mut chunk).with_context(|| format!("reading {}", self.path.display()))?;
            if count == 0 {
                return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
            }
            hash.update(&chunk[..count]);
        }
    }

    /// Copies the data file system alone to `path`, without its zeros.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn copy_data(&self, path: &Path) -> Result<Self> {
        let copy = || -> io::Result<()> {
            let (from, to) = (File::open(&self.path)?, File::create(path)?);
            to.set_len(self.length())?;
            let (mut chunk, zeros) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
            for at in (0..self.length()).step_by(CHUNK_BYTES) {
                let count = usize::try_from(self.length() - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
                from.read_exact_at(&mut chunk[..count], self.start() + at)?;
                // Byte by byte, a GiB takes ten seconds in a debug build.
                if chunk[..count] != zeros[..count] {
                    to.write_all_at(&chunk[..count], at)?;
                }
            }
            Ok(())
        };
        copy().with_context(|| format!("copying {} to {}", self.path.display(), path.display()))?;
        Ok(Self { path: path.to_path_buf(), layout: Layout::At { start: 0, length: self.length() } })
    }

    /// Repairs the file system as the guest does at its next boot, then checks all of it. It must be alone in its file:
    /// e2fsck forgets an offset once it has replayed a journal.
    ///
    /// # Errors
    /// When something is left that needs a decision by hand; the text holds what e2fsck found.
    pub fn preen_and_check(&self, lab: &Lab) -> Result<()> {
        ensure!(self.start() == 0, "checking {}: copy its data first", self.path.display());
        for (options, allowed) in [("-p", &[0, 1, 2, 3][..]), ("-fn", &[0][..])] {
            let mut e2fsck = lab.tools().program("e2fsck");
            e2fsck.arg(options).arg(&self.path);
            let output = child::run(e2fsck, b"", Deadline::host(TOOL_LIMIT))?;
            let words = String::from_utf8_lossy(&output.stdout);
            let is_fine = output.status.code().is_some_and(|code| allowed.contains(&code));
            ensure!(is_fine, "e2fsck {options} {}: {}: {words}", self.path.display(), output.status);
        }
        Ok(())
    }

    /// Writes `bytes` at `at`, as an accident or another program would.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn overwrite(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let written = self.open()?.write_all_at(bytes, at);
        written.with_context(|| format!("writing {}", self.path.display()))
    }

    /// Returns the image file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks the whole file system without changing it.
    ///
    /// # Errors
    /// When it was not unmounted cleanly or has any error; the text holds what e2fsck found.
    pub fn check(&self, lab: &Lab) -> Result<()> {
        let superblock = self.superblock()?;
        ensure!(superblock.is_clean, "checking {}: it was not unmounted cleanly", self.path.display());
        let mut e2fsck = lab.tools().program("e2fsck");
        // e2fsck reads "file?offset=N" as a file system inside a file.
        let target = format!("{}?offset={}", self.path.display(), self.start());
        e2fsck.args(["-f", "-n", &target]);
        let output = child::run(e2fsck, b"", Deadline::host(TOOL_LIMIT))?;
        let words = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "checking {}: {}: {words}", self.path.display(), output.status);
        Ok(())
    }

    /// Leaves nonsense in the journal, to be replayed over the inode of the root directory and its neighbours, and the
    /// mark that errors were seen: e2fsck -p replays it, then refuses to repair that.
    ///
    /// # Errors
    /// When the file system is not over the whole disk, or debugfs fails.
    pub fn ruin(&self, lab: &Lab) -> Result<()> {
        ensure!(self.start() == 0, "ruining {}: debugfs wants a whole disk", self.path.display());
        let (garbage, script) = (lab.folder().join("garbage"), lab.folder().join("ruin"));
        let table = self.superblock()?.first_inode_table;
        let commands = format!(
            "set_super_value state 2\njournal_open\njournal_write -b {table} {}\njournal_close\n",
            garbage.display()
        );
        fs::write(&garbage, [0x5a; BLOCK_BYTES as usize])
            .and_then(|()| fs::write(&script, commands))
            .with_context(|| format!("writing what ruins {}", self.path.display()))?;
        let mut debugfs = lab.tools().program("debugfs");
        debugfs.arg("-w").arg("-f").arg(&script).arg(&self.path);
        child::run_ok(debugfs, b"", Deadline::host(TOOL_LIMIT)).map(drop)
    }

    /// Returns the volume label of the file system.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn label(&self) -> Result<String> {
        Ok(self.superblock()?.label)
    }

    fn partition(&self) -> Result<()> {
        let mut file = self.open()?;
        let sectors = u32::try_from(IMAGE_BYTES / SECTOR_BYTES - 1).unwrap_or(u32::MAX);
        ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut file)?;
        let mut table = GptConfig::new().writable(true).create_from_device(file, None)?;
        let alignment = Some(PARTITION_BYTES / SECTOR_BYTES);
        table.add_partition("data", self.length(), partition_types::LINUX_FS, 0, alignment)?;
        table.write()?;
        Ok(())
    }

    fn format(&self, lab: &Lab, label: &str, files: &[(&str, &[u8])]) -> Result<()> {
        let content = tempfile::tempdir().context("creating a folder for the files of the disk")?;
        // mkfs.ext4 -d takes the root directory's permissions from it.
        fs::set_permissions(content.path(), Permissions::from_mode(0o755))
            .context("opening that folder to all")?;
        for (name, bytes) in files {
            let path = content.path().join(name);
            fs::create_dir_all(path.parent().unwrap_or(content.path()))
                .and_then(|()| fs::write(&path, bytes))
                .with_context(|| format!("writing {name} for the disk"))?;
        }
        let mut mkfs = lab.tools().program("mkfs.ext4");
        mkfs.env("MKE2FS_CONFIG", lab.tools().path("/etc/mke2fs.conf"))
            .args(["-q", "-F", "-L", label, "-i", BYTES_PER_INODE, "-b", &BLOCK_BYTES.to_string()])
            .args(["-E", &format!("root_owner=0:0,offset={}", self.start()), "-d"])
            .arg(content.path())
            .arg(&self.path)
            .arg((self.length() / BLOCK_BYTES).to_string());
        child::run_ok(mkfs, b"", Deadline::host(TOOL_LIMIT)).map(drop)
    }

    fn start(&self) -> u64 {
        match self.layout {
            Layout::WholeDisk => 0,
            Layout::Partition => PARTITION_BYTES,
            Layout::At { start, .. } => start,
        }
    }

    fn length(&self) -> u64 {
        match self.layout {
            Layout::WholeDisk => IMAGE_BYTES,
            Layout::Partition => IMAGE_BYTES - PARTITION_BYTES - TABLE_BYTES,
            Layout::At { length, .. } => length,
        }
    }

    fn superblock(&self) -> Result<Superblock> {
        let mut bytes = [0; BLOCK_BYTES as usize * 2];
        self.open()?
            .read_exact_at(&mut bytes, self.start())
            .with_context(|| format!("reading the superblock of {}", self.path.display()))?;
        Ok(Superblock::parse(&bytes))
    }

    fn open(&self) -> Result<File> {
        let opened: io::Result<File> = OpenOptions::new().read(true).write(true).open(&self.path);
        opened.with_context(|| format!("opening {}", self.path.display()))
    }
}

/// What the tests need of an ext4 superblock and its first group descriptor.
/// Source: Documentation/filesystems/ext4/super.rst and group_descr.rst.
#[derive(Debug, PartialEq, Eq)]
struct Superblock {
    label: String,
    is_clean: bool,
    /// Unit: blocks.
    first_inode_table: u64,
}

impl Superblock {
    /// Reads the first two blocks of a file system with blocks of [`BLOCK_BYTES`].
    fn parse(blocks: &[u8; BLOCK_BYTES as usize * 2]) -> Self {
        const START: usize = 1024;
        const STATE: usize = START + 0x3a;
        const INCOMPATIBLE: usize = START + 0x60;
        const NAME: std::ops::Range<usize> = START + 0x78..START + 0x88;
        const INODE_TABLE: usize = BLOCK_BYTES as usize + 0x8;
        const STATE_CLEAN: u8 = 1;
        /// The journal holds changes that are not in their places yet.
        const NEEDS_RECOVERY: u8 = 4;
        let name: Vec<u8> = blocks[NAME].iter().copied().take_while(|&byte| byte != 0).collect();
        let table: [u8; 4] = blocks[INODE_TABLE..INODE_TABLE + 4].try_into().expect("four bytes");
        Self {
            label: String::from_utf8_lossy(&name).into_owned(),
            is_clean: blocks[STATE] & STATE_CLEAN != 0 && blocks[INCOMPATIBLE] & NEEDS_RECOVERY == 0,
            first_inode_table: u32::from_le_bytes(table).into(),
        }
    }
}
