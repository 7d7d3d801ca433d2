//! Picking files out of packages and closing the set over shared libraries.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail};

use crate::deb::{self, Member, MemberKind};
use crate::host;
use crate::image::{Bundle, Component, PackageFile};
use crate::lock::LockedPackage;
use crate::object::{self, Object};
use crate::progress::Progress;
use crate::tree::{Content, GuestPath, Node, Tree};

/// How many links in a row are followed before it is called a loop.
/// Source: path_resolution(7), MAXSYMLINKS.
const LINKS_MAX: usize = 40;

/// A file of some package that may be selected.
#[derive(Debug, Clone)]
struct Candidate {
    package: String,
    member: Member,
}

/// All files of all packages, with the content of those that may be needed.
#[derive(Debug)]
pub(crate) struct Selection {
    by_path: HashMap<GuestPath, Candidate>,
    by_package: BTreeMap<String, Vec<GuestPath>>,
}

impl Selection {
    /// Reads packages, keeping the content of what is `wanted` and of everything that may be a library.
    pub(crate) fn read(
        packages: &[(&LockedPackage, PathBuf)],
        wanted: &(dyn Fn(&str, &Path) -> bool + Sync),
        ui: Progress,
    ) -> Result<Self> {
        let bar = ui.count("reading packages", packages.len() as u64);
        let next = AtomicUsize::new(0);
        let read = Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..host::jobs() {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some((package, file)) = packages.get(index) else { return };
                        let keep = |path: &Path| wanted(&package.name, path) || may_be_library(path);
                        let members = package.verify(file).and_then(|()| deb::members(file, keep));
                        read.lock().expect("no thread panics holding it").insert(index, members);
                        bar.advance(1);
                    }
                });
            }
        });
        let mut selection = Self { by_path: HashMap::new(), by_package: BTreeMap::new() };
        for (index, members) in read.into_inner().expect("no thread panics holding it") {
            selection.add(&packages[index].0.name, members?);
        }
        Ok(selection)
    }

    fn add(&mut self, package: &str, members: Vec<Member>) {
        let paths = self.by_package.entry(package.to_owned()).or_default();
        for member in members {
            let path = GuestPath::new(&member.path);
            paths.push(path.clone());
            let candidate = Candidate { package: package.to_owned(), member };
            self.by_path.entry(path).or_insert(candidate);
        }
    }

    /// Returns the files of the components and bundles, those of `brought`, which take the place of the packages', and the
    /// libraries all of them need.
    pub(crate) fn tree(&self, components: &[Component], bundles: &[Bundle], brought: Tree) -> Result<Tree> {
        let mut tree = brought;
        for component in components {
            for file in &component.files {
                for path in self.matching(file).with_context(|| format!("image.toml: {}", component.name))? {
                    self.take(path, &mut tree)?;
                }
            }
        }
        for bundle in bundles {
            let mut bytes = Vec::new();
            for path in
                self.matching(&bundle.of).with_context(|| format!("image.toml: {}", bundle.path.display()))?
            {
                bytes.extend_from_slice(self.candidate(path)?.member.content.as_deref().unwrap_or_default());
            }
            tree.insert(GuestPath::new(&bundle.path), Node::file(bytes, 0o644));
        }
        self.close_over_libraries(&mut tree)?;
        Ok(tree)
    }

    /// Returns the package that the file at `path` comes from.
    pub(crate) fn package_of(&self, path: &GuestPath) -> Option<&str> {
        self.by_path.get(path).map(|candidate| candidate.package.as_str())
    }

    /// Returns what `file` means, sorted; nothing at all is an error.
    fn matching(&self, file: &PackageFile) -> Result<Vec<&GuestPath>> {
        let PackageFile { package, path } = file;
        let paths = self.by_package.get(package).with_context(|| format!("there is no package {package}"))?;
        let is_file = |path: &&GuestPath| !matches!(self.by_path[*path].member.kind, MemberKind::Folder);
        let mut found: Vec<_> =
            paths.iter().filter(|path| file.matches(path.as_path())).filter(is_file).collect();
        found.sort();
        if found.is_empty() {
            bail!("package {package} has no file {path}");
        }
        Ok(found)
    }

    fn candidate(&self, path: &GuestPath) -> Result<&Candidate> {
        self.by_path.get(path).with_context(|| format!("no package has {path}"))
    }

    /// Puts a file into the tree, and what it leads to if it is a link.
    fn take(&self, path: &GuestPath, tree: &mut Tree) -> Result<()> {
        let mut path = path.clone();
        for _ in 0..LINKS_MAX {
            let Candidate { member, package } = self.candidate(&path)?;
            let owner = (member.uid, member.gid);
            match &member.kind {
                MemberKind::Folder => tree.insert_if_absent(path, Node::folder(member.mode, owner)),
                MemberKind::File => {
                    let bytes = member
                        .content
                        .clone()
                        .with_context(|| format!("content of {path} of {package} was not kept"))?;
                    tree.insert(path, Node { content: Content::File(bytes), mode: member.mode, owner });
                }
                MemberKind::HardLink(target) => {
                    let bytes = self.candidate(&GuestPath::new(target))?.member.content.clone();
                    let bytes =
                        bytes.with_context(|| format!("content of {path} of {package} was not kept"))?;
                    tree.insert(path, Node { content: Content::File(bytes), mode: member.mode, owner });
                }
                MemberKind::Symlink(target) => {
                    let next = path.follow(target);
                    tree.insert(path, Node::symlink(target));
                    // A link into a package that the image does not use dangles there as it would in Debian.
                    if self.by_path.contains_key(&next) {
                        path = next;
                        continue;
                    }
                }
            }
            return Ok(());
        }
        bail!("following the links at {path}: more than {LINKS_MAX} in a row")
    }

    fn close_over_libraries(&self, tree: &mut Tree) -> Result<()> {
        let mut objects: BTreeMap<GuestPath, Object> = BTreeMap::new();
        loop {
            let unread: Vec<_> = tree
                .iter()
                .filter(|(path, _)| !objects.contains_key(path))
                .filter_map(|(path, node)| match &node.content {
                    Content::File(bytes) => Some((path.clone(), Arc::clone(bytes))),
                    Content::Folder | Content::Symlink(_) => None,
                })
                .collect();
            if unread.is_empty() {
                return check_versions(&objects, self);
            }
            for (path, bytes) in unread {
                let object =
                    object::parse(&bytes).with_context(|| format!("reading the ELF headers of {path}"))?;
                let object = object.unwrap_or_default();
                for name in &object.needed {
                    let library = self.library(&path, &object, name, |place| tree.get(place).is_some())?;
                    if tree.get(&library).is_none() {
                        self.take(&library, tree)?;
                    }
                }
                if let Some(loader) = &object.interpreter {
                    self.take(&GuestPath::new(loader), tree)
                        .with_context(|| format!("{path} needs its loader"))?;
                }
                objects.insert(path, object);
            }
        }
    }

    /// Returns where the loader would find the library `name` for `user`, in a package or what is in the image already.
    fn library(
        &self,
        user: &GuestPath,
        object: &Object,
        name: &str,
        is_there: impl Fn(&GuestPath) -> bool,
    ) -> Result<GuestPath> {
        object
            .places_of(name, user)
            .find(|path| is_there(path) || self.by_path.contains_key(path))
            .ok_or_else(|| anyhow!("{user} needs the library {name}, which no package has"))
    }

    /// Returns the file at the end of the links that begin at `path`.
    fn resolve(&self, path: &GuestPath) -> GuestPath {
        let mut path = path.clone();
        for _ in 0..LINKS_MAX {
            match self.by_path.get(&path).map(|candidate| &candidate.member.kind) {
                Some(MemberKind::Symlink(target)) => path = path.follow(target),
                _ => break,
            }
        }
        path
    }
}

fn check_versions(objects: &BTreeMap<GuestPath, Object>, selection: &Selection) -> Result<()> {
    for (user, object) in objects {
        for (name, version) in &object.versions_needed {
            let place = selection.library(user, object, name, |place| objects.contains_key(place))?;
            let library = if objects.contains_key(&place) { place } else { selection.resolve(&place) };
            let defined =
                objects.get(&library).is_some_and(|library| library.versions_defined.contains(version));
            if !defined {
                bail!("{user} needs {version} of {library}, which does not define it");
            }
        }
    }
    Ok(())
}

/// Libraries lie below `/usr/lib`; sudo keeps one of its own below `/usr/libexec`.
fn may_be_library(path: &Path) -> bool {
    path.starts_with("/usr") && path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so"))
}
