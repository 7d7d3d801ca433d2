use super::*;
use crate::sbom::spdx::{Package, Relationship};

fn parts(sizes: &[(&str, u64)]) -> Parts {
    let mut parts = Parts::new();
    for (name, bytes) in sizes {
        add(&mut parts, name, None, bytes * 2, *bytes);
    }
    parts
}

fn bill(packages: &[(&str, &str, &str)]) -> Document {
    let system = Package::new("SPDXRef-boot2docker", "boot2docker", "1.2.3");
    let relations = vec![Relationship::new("SPDXRef-DOCUMENT", "DESCRIBES", &system.id)];
    let mut all: Vec<_> =
        packages.iter().map(|(id, name, version)| Package::new(id, name, version)).collect();
    all.push(system);
    Document::new("1.2.3", 0, all, relations, Vec::new()).unwrap()
}

#[test]
fn the_table_is_by_size_and_ends_with_the_sum() {
    let mut parts = parts(&[("kernel", 3 << 20), ("ssh", 1 << 20)]);
    parts.get_mut("ssh").unwrap().group = Some("ssh-client".into());
    let expected = "KiB in ISO      %   unpacked  files  part [group]\n      \
                    3072   75.0       6144      1  kernel\n      \
                    1024   25.0       2048      1  ssh [ssh-client]\n      \
                    4096  100.0       8192      2  all\n";
    assert_eq!(table(&parts), expected);
}

#[test]
fn changes_of_versions_and_sizes_are_told() {
    let old =
        bill(&[("SPDXRef-deb-a", "a", "1"), ("SPDXRef-deb-b", "b", "1"), ("SPDXRef-kernel", "linux", "6.1")]);
    let new =
        bill(&[("SPDXRef-deb-a", "a", "2"), ("SPDXRef-deb-c", "c", "1"), ("SPDXRef-kernel", "linux", "6.1")]);
    assert_eq!(version_changes(&old, &new), ["deb a: 1 -> 2", "deb b: gone, was 1", "deb c: new, 1"]);
    assert_eq!(version_changes(&old, &old), [""; 0]);
    let (old, new) = (parts(&[("kernel", 2048), ("ssh", 1024)]), parts(&[("kernel", 1024), ("ssh", 1024)]));
    assert_eq!(size_changes(&old, &new), ["size of kernel: 2 -> 1 KiB (-1)"]);
}

#[test]
fn a_chart_has_a_bar_for_each_part_and_escapes_names() {
    let svg = chart::svg("a <b>", &[("one & two".into(), 2 << 20), ("three".into(), 1 << 20)]);
    assert!(svg.contains("a &lt;b&gt;: 3.00 MiB"), "{svg}");
    assert!(svg.contains("one &amp; two"), "{svg}");
    assert_eq!(svg.matches("<rect").count(), 3, "background and two bars");
    assert!(svg.contains("width=\"480.0\"") && svg.contains("width=\"240.0\""), "{svg}");
}
