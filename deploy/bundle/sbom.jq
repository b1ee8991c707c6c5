# SPDX-License-Identifier: Apache-2.0
# The SPDX document of a bundle (sbom.sh), from tables of its packages, their licences and its files, whose columns tabs separate.
def table: split("\n") | map(select(. != "") | split("\t"));
def id: gsub("[^A-Za-z0-9.-]"; "-");
def package_id: "SPDXRef-Package-" + id;
def file_id: "SPDXRef-File-" + (.[1] | id) + "-" + .[2][0:8];

# Debian's short name of a licence as SPDX's, or as a reference that the document explains.
def licence:
    if test("^(A|L)?GPL-[1-3](\\.[01])?\\+?$") then
        capture("^(?<family>[A-Z]+)-(?<number>[0-9.]+)(?<later>\\+?)$")
        | .family + "-" + (if .number | contains(".") then .number else .number + ".0" end)
          + (if .later == "+" then "-or-later" else "-only" end)
    else
        {"Expat": "MIT", "MIT": "MIT", "Apache-2.0": "Apache-2.0", "ISC": "ISC", "Zlib": "Zlib", "zlib": "Zlib", "curl": "curl",
         "BSD-2-clause": "BSD-2-Clause", "BSD-2-Clause": "BSD-2-Clause", "BSD-3-clause": "BSD-3-Clause",
         "BSD-3-Clause": "BSD-3-Clause", "MPL-2.0": "MPL-2.0", "CC0-1.0": "CC0-1.0", "BSL-1.0": "BSL-1.0"}[.]
        // "LicenseRef-Debian-" + id
    end;
def expression: map(.[1] | licence) | unique | if length == 0 then "NOASSERTION" else join(" AND ") end;

def package($licences): .[0] as $package | {
    name: $package,
    SPDXID: ($package | package_id),
    versionInfo: .[1],
    supplier: (if $package == "crivirt" then "NOASSERTION" else "Organization: Debian" end),
    downloadLocation: "NOASSERTION",
    filesAnalyzed: false,
    sourceInfo: ("source package " + .[3] + " " + .[4]),
    licenseConcluded: "NOASSERTION",
    licenseDeclared: ($licences | map(select(.[0] == $package)) | expression),
    licenseComments: "Each licence that the copyright file names for a file of the source package, also where another may be chosen.",
    copyrightText: (if $package == "crivirt" then "NOASSERTION" else "share/doc/" + $package + "/copyright in the bundle" end)
} + if $package == "crivirt" then {} else {externalRefs: [{
    referenceCategory: "PACKAGE-MANAGER",
    referenceType: "purl",
    referenceLocator: ("pkg:deb/debian/" + $package + "@" + (.[1] | @uri) + "?arch=" + .[2] + "&distro=bookworm")
}]} end;

def file: {
    fileName: ("./" + .[1]),
    SPDXID: file_id,
    checksums: [{algorithm: "SHA256", checksumValue: .[2]}],
    licenseConcluded: "NOASSERTION",
    copyrightText: "NOASSERTION"
};

def explained: map({id: (.[1] | licence), name: .[1], package: .[0]}) | map(select(.id | startswith("LicenseRef-")))
    | group_by(.id) | map(.[0] | {
        licenseId: .id,
        name: .name,
        extractedText: ("the licence that share/doc/" + .package + "/copyright calls " + .name)
    });

def related($from; $type; $to): {spdxElementId: $from, relationshipType: $type, relatedSpdxElement: $to};

($packages | table) as $packages | ($licences | table) as $licences | ($files | table) as $files | {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name: $name,
    documentNamespace: ("urn:crivirt:bundle:" + $name + ":" + $digest),
    creationInfo: {created: $created, creators: ["Tool: crivirt-deploy-bundle"]},
    packages: ($packages | map(package($licences))),
    files: ($files | map(file)),
    hasExtractedLicensingInfos: ($licences | explained),
    relationships: ([related("SPDXRef-DOCUMENT"; "DESCRIBES"; "SPDXRef-Package-crivirt")]
        + ($packages | map(.[0] | select(. != "crivirt") | related("SPDXRef-Package-crivirt"; "DEPENDS_ON"; package_id)))
        + ($files | map(related(.[0] | package_id; "CONTAINS"; file_id))))
}
