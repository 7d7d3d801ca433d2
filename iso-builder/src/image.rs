//! `rootfs/image.toml`: which files of which packages go into the image, and what else is there.
//!
//! Nothing is installed: the files named here are taken from the packages, together with the shared
//! libraries that their ELF headers ask for. Parts that not every image needs are in named groups, which
//! `image.groups` of the configuration switches on.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::compiled::{self, Program};
use crate::document;
use crate::lock::LockedPackage;
use crate::progress::Progress;
use crate::project::Project;
use crate::selection::Selection;
use crate::tree::{GuestPath, Node, Tree};

/// Where the recipe is in the checkout.
const FILE: &str = "rootfs/image.toml";

/// Path of a [`PackageFile`] that stands for all files of the package but its documentation.
const WHOLE: &str = "/**";

/// What is documentation: nobody reads it in the image.
const DOCUMENTATION: [&str; 7] = [
    "/usr/share/bug",
    "/usr/share/doc",
    "/usr/share/doc-base",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
];

/// Highest value of permission bits.
const MODE_MAX: u32 = 0o7777;

/// The recipe of the image, as `rootfs/image.toml` has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recipe {
    #[serde(rename = "group", default)]
    groups: Vec<Group>,
    #[serde(rename = "component")]
    components: Vec<Component>,
    #[serde(rename = "folder", default)]
    folders: Vec<Attributes>,
    #[serde(rename = "file", default)]
    files: Vec<Attributes>,
    #[serde(rename = "link", default)]
    links: Vec<Link>,
    #[serde(rename = "bundle", default)]
    bundles: Vec<Bundle>,
    /// Applets of busybox that get no link, as `busybox --list-full` names them.
    #[serde(default)]
    hidden_applets: Vec<String>,
    /// What is compiled instead of taken out of a package, from a file of its own.
    #[serde(skip_deserializing)]
    pub(crate) programs: Vec<Program>,
}

/// A part of the image that can be left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Group {
    /// What `image.groups` calls it.
    pub name: String,
    /// Who needs it, a few words.
    pub about: String,
}

/// Files that serve one purpose.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Component {
    /// What it is for, a few words.
    pub(crate) name: String,
    /// The group it belongs to; without one it is in every image.
    group: Option<String>,
    /// `package:/path`; a `*` in the last part of the path stands for any characters.
    pub(crate) files: Vec<PackageFile>,
}

/// `package:/path` as a value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PackageFile {
    pub(crate) package: String,
    pub(crate) path: String,
}

impl TryFrom<String> for PackageFile {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(":/") {
            Some((package, path)) if !package.is_empty() && !path.is_empty() => {
                Ok(Self { package: package.to_owned(), path: format!("/{path}") })
            }
            _ => Err(format!("`{text}` is not of the form package:/path")),
        }
    }
}

impl From<PackageFile> for String {
    fn from(file: PackageFile) -> Self {
        format!("{}:{}", file.package, file.path)
    }
}

impl PackageFile {
    /// Says whether `path` is meant.
    pub(crate) fn matches(&self, path: &Path) -> bool {
        if self.path == WHOLE {
            return !DOCUMENTATION.iter().any(|folder| path.starts_with(folder));
        }
        let Some(path) = path.to_str() else { return false };
        match self.path.split_once('*') {
            None => path == self.path,
            Some((before, after)) => path
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(|middle| !middle.contains('/')),
        }
    }
}

/// Mode and owner of a folder to make, or of a file that git cannot describe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Attributes {
    path: PathBuf,
    group: Option<String>,
    mode: u32,
    #[serde(default)]
    owner: (u32, u32),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Link {
    path: PathBuf,
    group: Option<String>,
    target: PathBuf,
}

/// One file made of several, in path order, for instance the certificates to trust.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    group: Option<String>,
    pub(crate) of: PackageFile,
}

impl Recipe {
    /// Reads the recipe of a checkout, with the programs that are compiled.
    ///
    /// # Errors
    /// As [`Recipe::read`], for both files.
    pub fn of(project: &Project) -> Result<Self> {
        let mut recipe = Self::read(&project.root().join(FILE))?;
        recipe.programs = compiled::read(project, &recipe.groups)?;
        Ok(recipe)
    }

    /// Reads and checks a recipe without compiled programs.
    ///
    /// # Errors
    /// When the file cannot be read or says something that makes no sense; the text names file and line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let recipe: Self = document::parse(path, &text)?;
        for Attributes { path: entry, mode, .. } in recipe.folders.iter().chain(&recipe.files) {
            if *mode > MODE_MAX {
                bail!("{}: mode {mode:#o} of {} is above {MODE_MAX:#o}", path.display(), entry.display());
            }
        }
        recipe.check_groups().with_context(|| format!("reading {}", path.display()))?;
        Ok(recipe)
    }

    fn check_groups(&self) -> Result<()> {
        let components = self.components.iter().map(|it| (&it.group, it.name.clone()));
        let attributes = self.folders.iter().chain(&self.files);
        let attributes = attributes.map(|it| (&it.group, it.path.display().to_string()));
        let links = self.links.iter().map(|it| (&it.group, it.path.display().to_string()));
        let bundles = self.bundles.iter().map(|it| (&it.group, it.path.display().to_string()));
        for (group, what) in components.chain(attributes).chain(links).chain(bundles) {
            if let Some(group) = group
                && !self.groups.iter().any(|known| known.name == *group)
            {
                bail!("`{what}` is in group `{group}`, which has no [[group]]");
            }
        }
        Ok(())
    }

    /// Returns all groups there are, in the order of the file.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Returns the recipe of an image with the groups `on` alone.
    ///
    /// # Errors
    /// When there is no such group; the text lists those that there are.
    pub fn with_groups(&self, on: &[String]) -> Result<Self> {
        if let Some(unknown) = on.iter().find(|name| !self.groups.iter().any(|group| group.name == **name)) {
            let known: Vec<_> = self.groups.iter().map(|group| group.name.as_str()).collect();
            bail!("image.groups has `{unknown}`, allowed are {}", known.join(", "));
        }
        let is_on = |group: &Option<String>| group.as_ref().is_none_or(|name| on.contains(name));
        let mut recipe = self.clone();
        recipe.groups.retain(|group| on.contains(&group.name));
        recipe.components.retain(|it| is_on(&it.group));
        recipe.folders.retain(|it| is_on(&it.group));
        recipe.files.retain(|it| is_on(&it.group));
        recipe.links.retain(|it| is_on(&it.group));
        recipe.bundles.retain(|it| is_on(&it.group));
        recipe.programs.retain(|it| is_on(&it.group));
        Ok(recipe)
    }

    /// Returns the recipe with all files of some more packages, each a component of its own; what would be compiled instead of
    /// them is not.
    #[must_use]
    pub fn with_packages(&self, names: &[String]) -> Self {
        let mut recipe = self.clone();
        recipe.components.extend(names.iter().map(|name| Component {
            name: name.clone(),
            group: None,
            files: vec![PackageFile { package: name.clone(), path: WHOLE.to_owned() }],
        }));
        // Who wants Debian's package wants its program.
        recipe.programs.retain(|program| !names.contains(&program.name));
        recipe
    }

    /// Returns the recipe of an image that takes nothing from these packages.
    #[must_use]
    pub(crate) fn without_packages(&self, names: &[&str]) -> Self {
        let mut recipe = self.clone();
        for component in &mut recipe.components {
            component.files.retain(|file| !names.contains(&file.package.as_str()));
        }
        recipe
    }

    /// Returns the recipe as one text, for the key of what is made of it.
    #[must_use]
    pub fn to_key(&self) -> String {
        serde_json::to_string(self).expect("a recipe's maps have text as keys")
    }

    /// Returns the packages named, sorted and each once.
    #[must_use]
    pub fn packages(&self) -> Vec<String> {
        let files = self.components.iter().flat_map(|component| &component.files);
        let mut names: Vec<_> = files
            .chain(self.bundles.iter().map(|bundle| &bundle.of))
            .map(|file| file.package.clone())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Takes the named files out of the packages, and the libraries that they and the files of `brought` need.
    ///
    /// # Errors
    /// When a file is not in its package, or a library or symbol version is nowhere; the text names both sides.
    pub fn select(
        &self,
        packages: &[(&LockedPackage, PathBuf)],
        brought: Tree,
        ui: Progress,
    ) -> Result<Tree> {
        let selection = Selection::read(packages, &|package, path| self.wants(package, path), ui)?;
        selection.tree(&self.components, &self.bundles, brought)
    }

    /// Returns the names of the packages that [`Recipe::select`] takes a file from beside those of `brought`.
    ///
    /// # Errors
    /// As [`Recipe::select`].
    pub fn packages_used(
        &self,
        packages: &[(&LockedPackage, PathBuf)],
        brought: Tree,
        ui: Progress,
    ) -> Result<BTreeSet<String>> {
        let selection = Selection::read(packages, &|package, path| self.wants(package, path), ui)?;
        let own: BTreeSet<_> = brought.iter().map(|(path, _)| path.clone()).collect();
        let tree = selection.tree(&self.components, &self.bundles, brought)?;
        let taken = tree.iter().filter(|(path, _)| !own.contains(path));
        let mut names: BTreeSet<_> =
            taken.filter_map(|(path, _)| selection.package_of(path)).map(str::to_owned).collect();
        names.extend(self.bundles.iter().map(|bundle| bundle.of.package.clone()));
        Ok(names)
    }

    /// Returns name and group of the component that names the file at `path`. Where several do, the one with the longest
    /// text beside a star counts: a folder of one package is no home for the files of another.
    #[must_use]
    pub fn component_of(&self, path: &Path) -> Option<(&str, Option<&str>)> {
        let claims = self.components.iter().flat_map(|component| {
            let files = component.files.iter().filter_map(|file| {
                let named = GuestPath::new(&file.path);
                let is_it = file.matches(path) || named.as_path() == path;
                is_it.then(|| named.as_path().as_os_str().len())
            });
            files.map(move |length| (component, length))
        });
        let (component, _) = claims.min_by_key(|(_, length)| Reverse(*length))?;
        Some((&component.name, component.group.as_deref()))
    }

    fn wants(&self, package: &str, path: &Path) -> bool {
        let files = self.components.iter().flat_map(|component| &component.files);
        files
            .chain(self.bundles.iter().map(|bundle| &bundle.of))
            .any(|file| file.package == package && file.matches(path))
    }

    /// Adds the folders and links that no package brings.
    pub fn add_folders_and_links(&self, tree: &mut Tree) {
        for Attributes { path, mode, owner, .. } in &self.folders {
            tree.insert(GuestPath::new(path), Node::folder(*mode, *owner));
        }
        for Link { path, target, .. } in &self.links {
            // Not GuestPath::new alone: /bin itself is a link, and must not be moved below /usr.
            tree.insert(GuestPath::unmerged(path), Node::symlink(target));
        }
    }

    /// Returns the folder that the recipe describes at `path`.
    #[must_use]
    pub fn describe_folder(&self, path: &GuestPath) -> Option<Node> {
        let folder = self.folders.iter().find(|folder| GuestPath::new(&folder.path) == *path)?;
        Some(Node::folder(folder.mode, folder.owner))
    }

    /// Says whether an applet of busybox gets no link.
    #[must_use]
    pub fn is_hidden_applet(&self, applet: &str) -> bool {
        self.hidden_applets.iter().any(|hidden| hidden == applet)
    }

    /// Gives files the mode and owner that the recipe states.
    ///
    /// # Errors
    /// When the recipe states them for a file that is not there.
    pub fn apply_attributes(&self, tree: &mut Tree) -> Result<()> {
        for Attributes { path, mode, owner, .. } in &self.files {
            let node = tree.get_mut(&GuestPath::new(path)).with_context(|| {
                format!("image.toml: setting the mode of {}: no such file", path.display())
            })?;
            (node.mode, node.owner) = (*mode, *owner);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Recipe> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.toml");
        fs::write(&path, text).unwrap();
        Recipe::read(&path)
    }

    #[test]
    fn a_star_stands_for_one_path_part() {
        let file = PackageFile::try_from("iptables:/usr/lib/xtables/lib*.so".to_owned()).unwrap();
        let cases = [
            ("/usr/lib/xtables/libxt_mark.so", true),
            ("/usr/lib/xtables/sub/libxt_mark.so", false),
            ("/usr/lib/xtables/libxt_mark.la", false),
        ];
        for (path, expected) in cases {
            assert_eq!(file.matches(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn a_whole_package_is_all_of_it_but_documentation() {
        let recipe = read("component = []\n").unwrap().with_packages(&["jq".to_owned()]);
        assert_eq!(recipe.packages(), ["jq"]);
        let cases = [("/usr/bin/jq", true), ("/etc/jq.conf", true), ("/usr/share/doc/jq/copyright", false)];
        for (path, expected) in cases {
            assert_eq!(recipe.wants("jq", Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn a_file_belongs_to_the_component_that_names_it_best() {
        let recipe = read(
            "[[group]]\nname = \"nfs\"\nabout = \"mounts\"\n\
             [[component]]\nname = \"modules\"\nfiles = [\"kmod:/usr/sbin/*\"]\n\
             [[component]]\nname = \"mounting\"\ngroup = \"nfs\"\nfiles = [\"nfs:/usr/sbin/mount.*\", \"cifs:/sbin/cifs\"]\n",
        );
        let recipe = recipe.unwrap();
        for (path, expected) in [
            ("/usr/sbin/modprobe", Some(("modules", None))),
            ("/usr/sbin/mount.nfs", Some(("mounting", Some("nfs")))),
            ("/usr/sbin/cifs", Some(("mounting", Some("nfs")))),
            ("/usr/bin/ls", None),
        ] {
            assert_eq!(recipe.component_of(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn mistakes_in_the_recipe_name_their_line() {
        let no_path = read("[[component]]\nname = \"a\"\nfiles = [\"dockerd\"]\n").unwrap_err();
        assert!(
            no_path.to_string().ends_with("image.toml:3: `dockerd` is not of the form package:/path"),
            "{no_path}"
        );
        let typo = read("[[component]]\nname = \"a\"\nfile = []\n").unwrap_err().to_string();
        assert!(
            typo.contains("image.toml:3: unknown field `file`, expected one of `name`, `group`, `files`"),
            "{typo}"
        );
        let mode =
            read("component = []\n[[folder]]\npath = \"/x\"\nmode = 0o10000\n").unwrap_err().to_string();
        assert!(mode.contains("mode 0o10000 of /x is above 0o7777"), "{mode}");
    }

    #[test]
    fn packages_are_named_once() {
        let recipe = read(
            "[[component]]\nname = \"a\"\nfiles = [\"b:/x\", \"a:/x\"]\n[[component]]\nname = \"c\"\nfiles = [\"b:/y\"]\n",
        );
        assert_eq!(recipe.unwrap().packages(), ["a", "b"]);
    }

    const GROUPED: &str = "[[group]]\nname = \"nfs\"\nabout = \"mounts\"\n\
        [[group]]\nname = \"tape\"\nabout = \"drives\"\n\
        [[component]]\nname = \"always\"\nfiles = [\"a:/x\"]\n\
        [[component]]\nname = \"mount.nfs\"\ngroup = \"nfs\"\nfiles = [\"b:/y\"]\n\
        [[link]]\npath = \"/usr/sbin/mount.nfs4\"\ntarget = \"mount.nfs\"\ngroup = \"nfs\"\n";

    #[test]
    fn only_groups_that_are_on_take_part() {
        let recipe = read(GROUPED).unwrap();
        let with = |on: &[&str]| recipe.with_groups(&on.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(with(&[]).unwrap().packages(), ["a"]);
        assert_eq!(with(&["tape"]).unwrap().links.len(), 0);
        assert_eq!(with(&["nfs"]).unwrap().packages(), ["a", "b"]);
        assert_eq!(with(&["nfs"]).unwrap().links.len(), 1);
        assert_ne!(with(&[]).unwrap().to_key(), with(&["nfs"]).unwrap().to_key());
        let error = with(&["nsf"]).unwrap_err().to_string();
        assert_eq!(error, "image.groups has `nsf`, allowed are nfs, tape");
    }

    #[test]
    fn a_part_of_an_unknown_group_is_refused() {
        let text = GROUPED.replacen("group = \"nfs\"", "group = \"nsf\"", 1);
        let error = format!("{:#}", read(&text).unwrap_err());
        assert!(error.ends_with("`mount.nfs` is in group `nsf`, which has no [[group]]"), "{error}");
    }
}
