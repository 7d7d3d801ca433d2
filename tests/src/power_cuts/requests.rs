//! What Docker is asked to keep while the power goes. Its answer is a promise: from then on the image must be there.

use std::process::Output;

use anyhow::{Result, ensure};

use crate::archive::{docker_archive, tar_of};
use crate::random::Random;

/// Makes an image worth cutting into.
const FILLING_BYTES: usize = 3 << 20;
/// Where the guest puts what it is to load: in memory, not on the disk that is looked at.
const FOLDER: &str = "/dev/shm/requests";
/// The name of the container that a commit is made of.
const COMMITTED: &str = "committed";
/// What ssh ends with when its connection does.
const CONNECTION_LOST: i32 = 255;

/// An image that Docker has promised to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// What it says when it is run.
    pub says: String,
}

/// Requests made one after the other, over one connection.
#[derive(Debug, Default)]
pub struct Requests {
    /// What the guest runs; it tells the name of each image that Docker has acknowledged.
    pub script: String,
    archives: Vec<(String, Vec<u8>)>,
    /// The images, in the order of the requests.
    images: Vec<Kept>,
}

impl Requests {
    /// Returns the first requests to a new disk: two images that share their layer. Nothing is unpacked for the second, so
    /// no sync of a layer covers for what it needs itself.
    ///
    /// # Errors
    /// When its archive cannot be made.
    pub fn first(random: &mut Random, busybox: &[u8]) -> Result<Self> {
        let mut requests = Self::default();
        requests.load(random, busybox, b"")?;
        requests.load(random, busybox, b"")?;
        Ok(requests)
    }

    /// Returns two requests for images besides those that are `kept`, of which there must be one.
    ///
    /// # Errors
    /// When an archive cannot be made.
    pub fn two(random: &mut Random, busybox: &[u8], kept: &[Kept]) -> Result<Self> {
        let mut requests = Self::default();
        for _ in 0..2 {
            let from = kept[random.below(kept.len())].clone();
            match random.below(6) {
                0 => requests.tag(random, &from),
                1 => requests.commit(random, &from),
                2 | 3 => {
                    let filling = random.bytes(FILLING_BYTES);
                    requests.load(random, busybox, &filling)?;
                }
                // As the second of the first ones.
                _ => requests.load(random, busybox, b"")?,
            }
        }
        Ok(requests)
    }

    fn load(&mut self, random: &mut Random, busybox: &[u8], filling: &[u8]) -> Result<()> {
        let name = new_name(random, if filling.is_empty() { "known" } else { "new" });
        let file = format!("{name}.tar");
        self.archives.push((file.clone(), docker_archive(&name, busybox, filling)?));
        self.push(&format!("docker load -i {FOLDER}/{file}"), &name, &name);
        Ok(())
    }

    fn tag(&mut self, random: &mut Random, from: &Kept) {
        let name = new_name(random, "tagged");
        self.push(&format!("docker tag {} {name}", from.name), &name, &from.says);
    }

    /// The container's change is a file that the image prints.
    fn commit(&mut self, random: &mut Random, from: &Kept) {
        let name = new_name(random, "committed");
        let script = format!(
            "docker rm -f {COMMITTED}; \
             docker run --name {COMMITTED} --network none {} /bin/busybox sh -c 'echo {name} > /name' && \
             docker commit -c 'CMD [\"/bin/busybox\", \"cat\", \"/name\"]' {COMMITTED} {name}",
            from.name
        );
        self.push(&script, &name, &name);
    }

    fn push(&mut self, script: &str, name: &str, says: &str) {
        if !self.script.is_empty() {
            self.script += " && ";
        }
        self.script += &format!("{{ {script}; }} >&2 && echo {name}");
        self.images.push(Kept { name: name.to_owned(), says: says.to_owned() });
    }

    /// Returns the whole command, and what it reads from its standard input.
    ///
    /// # Errors
    /// When the archive cannot be made.
    pub fn command(&self) -> Result<(String, Vec<u8>)> {
        let files: Vec<_> =
            self.archives.iter().map(|(file, archive)| (file.as_str(), 0o644, archive.as_slice())).collect();
        let script = format!("mkdir -p {FOLDER} && tar -xC {FOLDER} && {}", self.script);
        Ok((script, tar_of(&files)?))
    }

    /// Returns the images whose names have arrived, which is all of them unless the connection was lost.
    ///
    /// # Errors
    /// When Docker refused something, or other names arrived.
    pub fn acknowledged(&self, output: &Output) -> Result<&[Kept]> {
        let said = String::from_utf8_lossy(&output.stdout);
        // A name is one only with the end of its line.
        let names: Vec<_> = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).collect();
        let is_cut = output.status.code() == Some(CONNECTION_LOST);
        let is_whole = output.status.success() && names.len() == self.images.len();
        let is_in_order = self.images.iter().zip(&names).all(|(image, name)| image.name == *name);
        ensure!(
            (is_whole || is_cut) && is_in_order && names.len() <= self.images.len(),
            "docker said {said:?}, {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(&self.images[..names.len()])
    }
}

fn new_name(random: &mut Random, kind: &str) -> String {
    format!("{kind}-{}", random.below(1 << 30))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn said(stdout: &str, code: i32) -> Output {
        Output { status: ExitStatus::from_raw(code << 8), stdout: stdout.into(), stderr: Vec::new() }
    }

    #[test]
    fn an_image_counts_once_its_whole_line_has_arrived() {
        let mut requests = Requests::default();
        let from = Kept { name: "old".into(), says: "old".into() };
        requests.tag(&mut Random::new(1), &from);
        requests.commit(&mut Random::new(2), &from);
        let [one, two] = &requests.images[..] else { panic!("two requests") };
        assert_eq!((one.says.as_str(), two.says.as_str()), ("old", two.name.as_str()));
        let (all, half) = (format!("{}\n{}\n", one.name, two.name), format!("{}\n{}", one.name, two.name));
        let rows = [
            ("both", said(&all, 0), Some(2)),
            ("cut after both", said(&all, CONNECTION_LOST), Some(2)),
            ("cut in the second line", said(&half, CONNECTION_LOST), Some(1)),
            ("cut before any", said("", CONNECTION_LOST), Some(0)),
            ("refused", said(&half, 1), None),
            ("success without the names", said("", 0), None),
            ("other names", said("x\n", CONNECTION_LOST), None),
            ("more names", said(&format!("{all}x\n"), 0), None),
        ];
        for (name, output, expected) in rows {
            assert_eq!(requests.acknowledged(&output).ok().map(<[Kept]>::len), expected, "{name}");
        }
    }

    #[test]
    fn every_kind_of_request_comes_up() {
        let kept = [Kept { name: "old".into(), says: "old".into() }];
        let scripts: String =
            (0..20).map(|seed| Requests::two(&mut Random::new(seed), b"", &kept).unwrap().script).collect();
        for word in ["/known-", "/new-", "docker tag old tagged-", "docker commit "] {
            assert!(scripts.contains(word), "{word}");
        }
    }
}
