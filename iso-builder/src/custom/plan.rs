//! Decides which files the custom layer has, and that no two want the same place.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::facts::Facts;
use super::image::Image;
use super::{accounts, engine};
use crate::config::Custom;
use crate::document::{Mistake, Place};
use crate::tree::{Content, GuestPath, Node, Tree};

/// User docker and its primary group.
const DOCKER: (u32, u32) = (1000, 50);

/// Keys for user docker.
const SSH_FOLDER: &str = "/home/docker/.ssh";
const KEYS: &str = "/home/docker/.ssh/authorized_keys";

/// Password hashes.
const SHADOW: &str = "/etc/shadow";

/// sshd's configuration, which a new data disk gets a copy of.
const SSHD_CONFIG: &str = "/usr/local/etc/ssh/sshd_config";

/// Shell code that docker-setup evaluates before the user's profile.
const DEFAULTS: &str = "/etc/default/docker";

/// The list of authorities that programs trust.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Defaults that programs of ours look for when the data disk says nothing. Source: b2d-sys, contract.
const CUSTOM: &str = "/usr/share/boot2docker/custom";

/// Where nothing can be put, and what is there.
const TAKEN: [(&str, &str); 9] = [
    ("/dev", "the kernel's"),
    ("/mnt", "where disks are mounted"),
    ("/proc", "the kernel's"),
    ("/run", "made at each boot"),
    ("/sys", "the kernel's"),
    ("/tmp", "made at each boot"),
    ("/var/lib/boot2docker", "on the data disk, which is the user's"),
    ("/var/lib/docker", "on the data disk, which is the user's"),
    ("/var/run", "made at each boot"),
];

/// Begin of a certificate, and of what does not belong into an image.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// Why a layer cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    /// The configuration is at fault.
    #[error(transparent)]
    Mistake(#[from] Mistake),
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] anyhow::Error),
}

/// Returns the files of the layer, with all folders on the way to them.
pub(super) fn plan(custom: &Custom, facts: &Facts, image: &Image) -> Result<Tree, PlanError> {
    let mut layer = Layer { image, tree: Tree::default(), places: BTreeMap::new() };
    layer.logins(custom)?;
    layer.engine(custom, facts)?;
    layer.certificates(facts)?;
    for (name, text) in &custom.cards {
        layer.own(&format!("{CUSTOM}/network/{name}"), "network", Node::file(text.as_bytes(), 0o644));
    }
    if let Some(pattern) = &custom.hostname {
        layer.own(
            &format!("{CUSTOM}/hostname"),
            "hostname.pattern",
            Node::file(format!("{pattern}\n").as_bytes(), 0o644),
        );
    }
    for (name, script) in [("bootsync", &facts.bootsync), ("bootlocal", &facts.bootlocal)] {
        if let Some(script) = script {
            let node = Node::file(script.value.as_bytes(), 0o755);
            layer.own(&format!("{CUSTOM}/{name}.sh"), &format!("hooks.{name}"), node);
        }
    }
    layer.files(custom, facts)?;
    let image = layer.image;
    let described = |path: &GuestPath| image.find(path).map(|found| Node::folder(found.mode, found.owner));
    layer.tree.add_parents(described);
    Ok(layer.tree)
}

/// The layer so far, and who put each file there.
struct Layer<'a> {
    image: &'a Image,
    tree: Tree,
    places: BTreeMap<GuestPath, String>,
}

impl Layer<'_> {
    /// Adds a file that a key makes.
    fn own(&mut self, path: &str, key: &str, node: Node) {
        let path = GuestPath::new(path);
        self.places.insert(path.clone(), key.to_owned());
        self.tree.insert(path, node);
    }

    /// Changes a file of the image.
    fn change(&mut self, path: &str, key: &str, change: impl FnOnce(&str) -> String) -> Result<()> {
        let text = change(&self.image.needed_text(path)?);
        let found = self.image.find(&GuestPath::new(path));
        let (mode, owner) = found.map_or((0o644, (0, 0)), |found| (found.mode, found.owner));
        let content = Content::File(text.into_bytes().into());
        self.own(path, key, Node { content, mode, owner });
        Ok(())
    }

    fn logins(&mut self, custom: &Custom) -> Result<()> {
        if !custom.authorized_keys.is_empty() {
            let below = self.image.text(KEYS)?.unwrap_or_default();
            let keys = custom.authorized_keys.iter().map(|key| key.value.as_str());
            let node = Node::file(accounts::keys_with(&below, keys).as_bytes(), 0o600);
            self.own(SSH_FOLDER, "login.authorized-keys", Node::folder(0o700, DOCKER));
            self.own(KEYS, "login.authorized-keys", Node { owner: DOCKER, ..node });
        }
        let hash = custom.password.as_deref();
        // An sshd_config on an older data disk may still allow passwords: so there is none, unless one is asked for.
        if hash.is_some() || custom.password_login == Some(false) {
            let key = if hash.is_some() { "login.password" } else { "login.password-login" };
            self.change(SHADOW, key, |shadow| accounts::shadow_with(shadow, hash))?;
        }
        if let Some(is_on) = custom.password_login {
            let change = |config: &str| accounts::sshd_config_with(config, is_on);
            self.change(SSHD_CONFIG, "login.password-login", change)?;
        }
        Ok(())
    }

    fn engine(&mut self, custom: &Custom, facts: &Facts) -> Result<(), PlanError> {
        let profile = facts.profile.as_ref().map(|profile| profile.value.as_str());
        let below = self.image.text(DEFAULTS)?;
        if let Some(text) = engine::defaults(custom, profile, below.as_deref()) {
            self.own(
                DEFAULTS,
                "docker.profile, docker.environment or docker.extra-args",
                Node::file(text.as_bytes(), 0o644),
            );
        }
        if let Some(file) = &facts.daemon_json {
            engine::check_daemon_json(&file.value, custom)
                .map_err(|error| file.mistake(format!("docker.daemon-json: {error}")))?;
            let node = Node::file(file.value.as_bytes(), 0o644);
            self.own(&format!("{CUSTOM}/daemon.json"), "docker.daemon-json", node);
        }
        Ok(())
    }

    fn certificates(&mut self, facts: &Facts) -> Result<(), PlanError> {
        let mut added = String::new();
        for file in &facts.certificates {
            if !file.value.contains(CERTIFICATE) {
                let message = "certificates.files: no PEM certificate is in it; allowed are files with BEGIN CERTIFICATE";
                return Err(file.mistake(message).into());
            }
            if file.value.contains(PRIVATE_KEY) {
                let message =
                    "certificates.files: a private key is in it; whoever has the ISO would have the key";
                return Err(file.mistake(message).into());
            }
            added += file.value.replace('\r', "").trim_end();
            added.push('\n');
        }
        if !added.is_empty() {
            self.change(BUNDLE, "certificates.files", |bundle| format!("{bundle}{added}"))?;
        }
        Ok(())
    }

    fn files(&mut self, custom: &Custom, facts: &Facts) -> Result<(), PlanError> {
        let tables = (self.image.needed_text("/etc/passwd")?, self.image.needed_text("/etc/group")?);
        for (entry, nodes) in custom.files.iter().zip(&facts.files) {
            let owner = entry.owner.as_ref().map(|owner| {
                accounts::owner(&owner.value, &tables.0, &tables.1).ok_or_else(|| {
                    owner.mistake(format!(
                        "owner is {:?}; allowed is USER:GROUP, numbers or names; users are {}; groups are {}",
                        owner.value,
                        accounts::names(&tables.0),
                        accounts::names(&tables.1)
                    ))
                })
            });
            let owner = owner.transpose()?.unwrap_or_default();
            for (path, node) in nodes {
                let mut node = Node { owner, ..node.clone() };
                if let (Content::File(_), Some(mode)) = (&node.content, entry.mode) {
                    node.mode = mode;
                }
                self.put(path, node, &entry.to.place)?;
            }
        }
        Ok(())
    }

    /// Adds a file of the user's, unless something else is in its place.
    fn put(&mut self, path: &GuestPath, node: Node, place: &Place) -> Result<(), Mistake> {
        let taken = TAKEN.iter().find(|(folder, _)| path.as_path().starts_with(folder));
        if let Some((folder, what)) = taken {
            return Err(place.mistake(format!(
                "{path} cannot be in an image: {folder} is {what}; see docs/custom-iso.md for hooks, profile and addresses"
            )));
        }
        let is_folder = matches!(node.content, Content::Folder);
        for folder in path.folder().ancestors().filter(|folder| *folder != Path::new("/")) {
            self.check_folder(&GuestPath::new(folder), path, place)?;
        }
        let found = self.image.find(path);
        match found {
            // A folder of the image keeps its mode and owner; files are added to it.
            Some(found) if found.is_folder && is_folder => return Ok(()),
            Some(found) if found.is_folder => {
                return Err(place.mistake(format!(
                    "{path} is a folder of the image; allowed is a folder, or a path in it"
                )));
            }
            Some(_) if is_folder => {
                return Err(place.mistake(format!("{path} is a file of the image; allowed is a file")));
            }
            _ => {}
        }
        let is_below = |other: &&GuestPath| {
            other.as_path() != path.as_path() && other.as_path().starts_with(path.as_path())
        };
        let same = self.places.get_key_value(path).filter(|_| !(is_folder && self.has_folder(path)));
        let below = self.places.keys().find(is_below).filter(|_| !is_folder);
        if let Some(other) = same.map(|(_, by)| by).or_else(|| below.and_then(|path| self.places.get(path))) {
            return Err(place
                .mistake(format!("{path} is given twice: here and by {other}; allowed is one of the two")));
        }
        self.places.insert(path.clone(), format!("line {}", place.line));
        self.tree.insert(path.clone(), node);
        Ok(())
    }

    fn has_folder(&self, path: &GuestPath) -> bool {
        self.tree.get(path).is_some_and(|node| matches!(node.content, Content::Folder))
    }

    /// Checks that `folder`, on the way to `path`, is one.
    fn check_folder(&self, folder: &GuestPath, path: &GuestPath, place: &Place) -> Result<(), Mistake> {
        if let Some(other) = self.places.get(folder).filter(|_| !self.has_folder(folder)) {
            return Err(
                place.mistake(format!("{path} needs the folder {folder}, which is a file by {other}"))
            );
        }
        match self.image.find(folder) {
            Some(found) if !found.is_folder => Err(place.mistake(match found.link {
                Some(link) => format!(
                    "{folder} is a link to {} in the image; name the path it leads to",
                    link.display()
                ),
                None => format!("{path} needs the folder {folder}, which is a file of the image"),
            })),
            _ => Ok(()),
        }
    }
}
