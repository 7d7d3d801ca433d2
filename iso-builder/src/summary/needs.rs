//! Which parts of an image are there for which groups: a library that only files of one group need is part of what that
//! group costs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

use crate::compiled;
use crate::image::Recipe;
use crate::object::{self, Object};
use crate::squashfs::{Entry, Layer};
use crate::tree::GuestPath;

/// How many links in a row are followed. Source: path_resolution(7), MAXSYMLINKS.
const LINKS_MAX: usize = 40;

/// Groups by path of a file that they need; an empty name stands for what every image has.
pub(super) type Needs = BTreeMap<String, BTreeSet<String>>;

/// Returns the groups that need each program and library in the layers of packages.
///
/// # Errors
/// When a file of a layer cannot be read.
pub(super) fn of(layers: &[&Layer], recipe: &Recipe) -> Result<Needs> {
    let entries: Vec<_> =
        layers.iter().flat_map(|layer| layer.entries().into_iter().map(|entry| (*layer, entry))).collect();
    let read = |layer: &Layer, entry: &Entry| {
        let bytes = layer.read(&entry.path)?.unwrap_or_default();
        let object = object::parse(&bytes);
        let object = object.with_context(|| format!("reading the ELF headers of {}", entry.path))?;
        Ok((entry.path.clone(), object.unwrap_or_default()))
    };
    let objects =
        entries.iter().filter(|(_, entry)| may_be_object(entry)).map(|(layer, entry)| read(layer, entry));
    let objects = objects.collect::<Result<_>>()?;
    let entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
    let links = entries.iter().filter_map(|entry| Some((entry.path.as_str(), entry.link.as_deref()?)));
    let named = |entry: &Entry| {
        let of_program =
            compiled::program_at(&recipe.programs, &entry.path).map(|program| program.group.as_deref());
        let of_component = || recipe.component_of(Path::new(&entry.path)).map(|(_, group)| group);
        let group = of_program.or_else(of_component)?;
        Some((entry.path.clone(), group.unwrap_or_default().to_owned()))
    };
    let image = Image { links: links.collect(), objects };
    Ok(image.needs(entries.iter().filter_map(named).collect()))
}

/// Modules of the kernel are objects too, but need none.
fn may_be_object(entry: &Entry) -> bool {
    let is_program = entry.mode.starts_with('-') && entry.mode.contains('x');
    let is_library = entry.mode.starts_with('-') && entry.path.contains(".so");
    (is_program || is_library) && !entry.path.starts_with("/usr/lib/modules/")
}

struct Image<'a> {
    /// Where each link leads, by path.
    links: BTreeMap<&'a str, &'a str>,
    /// What each program and library needs, by path.
    objects: BTreeMap<String, Object>,
}

impl Image<'_> {
    /// Follows links and ELF headers from the files that the recipe names.
    fn needs(&self, mut found: Vec<(String, String)>) -> Needs {
        let mut needs = Needs::new();
        while let Some((path, group)) = found.pop() {
            let path = self.resolve(path);
            if !needs.entry(path.clone()).or_default().insert(group.clone()) {
                continue;
            }
            let Some(object) = self.objects.get(&path) else { continue };
            let place = GuestPath::new(&path);
            let libraries = object.needed.iter().filter_map(|name| {
                object.places_of(name, &place).map(|path| path.to_string()).find(|path| self.has(path))
            });
            let loader = object.interpreter.iter().map(|path| GuestPath::new(path).to_string());
            found.extend(libraries.chain(loader).map(|path| (path, group.clone())));
        }
        needs
    }

    fn has(&self, path: &str) -> bool {
        self.links.contains_key(path) || self.objects.contains_key(path)
    }

    fn resolve(&self, mut path: String) -> String {
        for _ in 0..LINKS_MAX {
            let Some(target) = self.links.get(path.as_str()) else { break };
            path = GuestPath::new(&path).follow(Path::new(target)).to_string();
        }
        path
    }
}

/// Returns a name for the groups that need a file, or None when every image has it.
pub(super) fn group_of(needs: &Needs, path: &str) -> Option<String> {
    let groups = needs.get(path)?;
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    (!groups.contains("")).then(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(needed: &[&str], search: &[&str]) -> Object {
        let texts = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Object { needed: texts(needed), search: texts(search), ..Object::default() }
    }

    #[test]
    fn libraries_belong_to_those_who_alone_need_them() {
        let lib = |name: &str| format!("/usr/lib/x86_64-linux-gnu/{name}");
        let objects = [
            ("/usr/bin/curl".to_owned(), object(&["libcurl.so.4", "libc.so.6"], &[])),
            ("/usr/lib/git-core/git-remote-http".to_owned(), object(&["libcurl.so.4", "libpcre.so"], &[])),
            ("/usr/bin/sudo".to_owned(), object(&["libutil.so", "libc.so.6"], &["$ORIGIN/../libexec/sudo"])),
            ("/usr/libexec/sudo/libutil.so".to_owned(), object(&[], &[])),
            (lib("libcurl.so.4.8"), object(&["libssl.so", "libc.so.6"], &[])),
            (lib("libssl.so"), object(&["libc.so.6"], &[])),
            (lib("libpcre.so"), object(&["libc.so.6"], &[])),
            (lib("libc.so.6"), object(&[], &[])),
        ];
        let link = lib("libcurl.so.4");
        let links =
            [(link.as_str(), "libcurl.so.4.8"), ("/usr/lib/git-core/git-remote-https", "git-remote-http")];
        let image = Image { links: links.into(), objects: objects.into() };
        let named =
            [("/usr/bin/curl", "curl"), ("/usr/lib/git-core/git-remote-https", "git"), ("/usr/bin/sudo", "")];
        let needs = image.needs(named.map(|(path, group)| (path.to_owned(), group.to_owned())).into());
        let rows = [
            ("/usr/lib/git-core/git-remote-http".to_owned(), Some("git")),
            (lib("libpcre.so"), Some("git")),
            (lib("libcurl.so.4.8"), Some("curl, git")),
            (lib("libssl.so"), Some("curl, git")),
            (lib("libc.so.6"), None),
            ("/usr/libexec/sudo/libutil.so".to_owned(), None),
            ("/etc/services".to_owned(), None),
        ];
        for (path, expected) in rows {
            assert_eq!(group_of(&needs, &path).as_deref(), expected, "{path}");
        }
    }
}
