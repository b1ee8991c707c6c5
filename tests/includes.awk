# SPDX-License-Identifier: Apache-2.0
# Checks the direction of includes: awk -f includes.awk include-order FILE…  Prints each include that points up or to a
# neighbour, and ends with 1 if there is one. Run by `tests/lint.sh includes`.

# The longest entry of the table that path is, or is in; "" when there is none.
function place(path) {
    while (!(path in layer)) {
        if (!match(path, /\/[^\/]*$/))
            return ""
        path = substr(path, 1, RSTART - 1)
    }
    return path
}

function complain(text) {
    print FILENAME ":" FNR ": " text
    wrong = 1
}

NR == FNR {
    if ($1 == "except")
        allowed[$2, $3]
    else if ($0 !~ /^#/)
        for (i = 1; i <= NF; i++)
            layer[$i] = NR
    next
}

FNR == 1 {
    own = place(FILENAME)
    if (own == "")
        complain("its folder is not in tests/include-order")
}

# Headers without a folder are generated, or those of a library.
/^#[ \t]*include "[^"]*\// && own != "" {
    split($0, parts, "\"")
    header = parts[2]
    if ((FILENAME, header) in allowed)
        next
    other = place(header)
    if (other == "")
        complain("includes " header ", whose folder is not in tests/include-order")
    else if (other != own && layer[other] > layer[own])
        complain("includes " header ", which is above " own " in tests/include-order")
    else if (other != own && layer[other] == layer[own])
        complain("includes " header ", which is beside " own " in tests/include-order")
}

END { exit wrong }
