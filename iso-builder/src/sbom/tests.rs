use super::*;

fn document() -> Document {
    let mut system = Package::new("SPDXRef-boot2docker", "boot2docker", "1.2.3");
    system.purpose = Some("OPERATING_SYSTEM".into());
    let mut tool = Package::new(&spdx::id(&["deb", "libstdc++6"]), "libstdc++6", "14");
    tool.checksums = spdx::sha256(&"0123456789abcdef".repeat(4));
    let relations = vec![
        Relationship::new("SPDXRef-DOCUMENT", "DESCRIBES", &system.id),
        Relationship::new(&system.id, "CONTAINS", &tool.id),
    ];
    Document::new("1.2.3", 1_795_219_200, vec![tool, system], relations, Vec::new()).unwrap()
}

#[test]
fn a_document_is_what_the_schema_asks_for_and_reads_back() {
    let document = document();
    let text = document.to_text();
    assert_eq!(Document::read(text.as_bytes()).unwrap(), document);
    let older = text.replace("OPERATING_SYSTEM", "OPERATING-SYSTEM");
    assert_eq!(Document::read(older.as_bytes()).unwrap(), document);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    // Required by the schema of SPDX 2.3; the namespace by its text, 6.5.
    for key in ["SPDXID", "creationInfo", "dataLicense", "name", "spdxVersion", "documentNamespace"] {
        assert!(value.get(key).is_some(), "{key}");
    }
    assert_eq!(value["creationInfo"]["created"], "2026-11-21T00:00:00Z");
    assert_eq!(value["packages"][1]["SPDXID"], "SPDXRef-deb-libstdc.plus.plus6");
    for key in ["SPDXID", "downloadLocation", "name"] {
        assert!(value["packages"][0].get(key).is_some(), "{key}");
    }
    for key in ["spdxElementId", "relatedSpdxElement", "relationshipType"] {
        assert!(value["relationships"][0].get(key).is_some(), "{key}");
    }
}

#[test]
fn broken_documents_are_refused() {
    let text = document().to_text();
    for (name, from, to, expected) in [
        ("no name", "\"name\": \"boot2docker-1.2.3\",", "", "missing field `name`"),
        ("another key", "\"spdxVersion\"", "\"extra\": 1, \"spdxVersion\"", "unknown field `extra`"),
        ("another version", "SPDX-2.3", "SPDX-3.0", "spdxVersion is SPDX-3.0"),
        (
            "id twice",
            "SPDXRef-deb-libstdc.plus.plus6",
            "SPDXRef-boot2docker",
            "`SPDXRef-boot2docker` is there twice",
        ),
        ("a broken id", "SPDXRef-deb-libstdc.plus.plus6", "SPDXRef-libstdc++6", "is no identifier"),
        ("a broken digest", "\"0123456789abcdef", "\"xyz", "digest of libstdc++6"),
        ("an odd purpose", "OPERATING_SYSTEM", "SYSTEM", "is no purpose of a package"),
        (
            "a licence without text",
            "\"licenseDeclared\": \"NO",
            "\"licenseDeclared\": \"LicenseRef-NO",
            "has no text",
        ),
        ("nothing described", "DESCRIBES", "CONTAINS", "the document describes nothing"),
        ("an odd relation", "\"CONTAINS\"", "\"HAS\"", "`HAS` is no relationship"),
    ] {
        let broken = text.replace(from, to);
        assert_ne!(broken, text, "{name}");
        let error = format!("{:#}", Document::read(broken.as_bytes()).unwrap_err());
        assert!(error.contains(expected), "{name}: {error}");
    }
    let mut broken = document();
    broken.relationships.push(Relationship::new("SPDXRef-boot2docker", "CONTAINS", "SPDXRef-nothing"));
    let error = Document::read(broken.to_text().as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "`SPDXRef-nothing` has a relationship but is not there");
}

#[test]
fn the_archive_of_licences_depends_on_its_texts_alone() {
    let texts = |names: [&str; 3]| -> Vec<(String, Vec<u8>)> {
        names.iter().map(|name| ((*name).to_owned(), name.as_bytes()[..1].to_vec())).collect()
    };
    let one = licence_archive(texts(["a/x", "a/y", "b/x"]), 7).unwrap();
    assert_eq!(one, licence_archive(texts(["b/x", "a/y", "a/x"]), 7).unwrap());
    let plain = zstd::decode_all(&one[..]).unwrap();
    let mut archive = tar::Archive::new(&plain[..]);
    let kinds: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().entry_type())
        })
        .collect();
    let regular = tar::EntryType::Regular;
    let expected = [("a/x", regular), ("a/y", tar::EntryType::Link), ("b/x", regular)];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
}
