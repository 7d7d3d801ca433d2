//! The bill of materials of an image with one more layer: each file of the layer is in it with its digest.

use anyhow::{Context, Result};

use super::Image;
use crate::digest;
use crate::inspect::BILL;
use crate::sbom::spdx::{self, Document, Package, Relationship};
use crate::tree::{Content, GuestPath, Node, Tree};

/// The image as a whole, in its bill.
const SYSTEM: &str = "SPDXRef-boot2docker";

/// Returns the image's bill with the files of the layer `name`; none if the image has no bill.
pub(super) fn with_layer(image: &Image, name: &str, tree: &Tree) -> Result<Option<Document>> {
    let Some(text) = image.text(BILL)? else { return Ok(None) };
    let mut bill = Document::read(text.as_bytes()).with_context(|| format!("reading {BILL}"))?;
    let layer = Package {
        purpose: Some("ARCHIVE".into()),
        comment: Some("baked in by a configuration; licences of its files are not known here".into()),
        ..Package::new(&spdx::id(&["custom", name]), name, "")
    };
    let mut packages = Vec::new();
    let mut relations = vec![Relationship::new(SYSTEM, "CONTAINS", &layer.id)];
    let is_file = |node: &Node| !matches!(node.content, Content::Folder);
    for (index, (path, node)) in tree.iter().filter(|(_, node)| is_file(node)).enumerate() {
        // Paths have characters that identifiers have not: numbers are unique.
        let id = spdx::id(&["custom", name, &index.to_string()]);
        relations.push(Relationship::new(&layer.id, "CONTAINS", &id));
        packages.push(file(&id, path, node)?);
    }
    packages.push(layer);
    bill.add(packages, relations)?;
    Ok(Some(bill))
}

fn file(id: &str, path: &GuestPath, node: &Node) -> Result<Package> {
    let mut file = Package { purpose: Some("FILE".into()), ..Package::new(id, &path.to_string(), "") };
    match &node.content {
        Content::File(bytes) => {
            let sum = digest::of_reader(&mut &bytes[..]).with_context(|| format!("hashing {path}"))?;
            file.checksums = spdx::sha256(&sum);
        }
        Content::Symlink(target) => file.comment = Some(format!("link to {}", target.display())),
        Content::Folder => {}
    }
    Ok(file)
}

/// Returns the layer with the bill in the place of the image's.
pub(super) fn with_bill(image: &Image, tree: &Tree, bill: &Document) -> Result<Tree> {
    let mut tree = tree.clone();
    tree.insert(GuestPath::new(BILL), Node::file(bill.to_text().into_bytes(), 0o644));
    tree.add_parents(|path| image.find(path).map(|found| Node::folder(found.mode, found.owner)));
    Ok(tree)
}
