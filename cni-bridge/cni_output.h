/* SPDX-License-Identifier: Apache-2.0 */
/* What a plugin prints after ADD, in all versions of the specification
 * (https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#section-5-result-types).
 *
 * The text is hostile until cni_output_parse() has checked it: sizes, address syntax, indices, duplicates. A
 * CniOutput is immutable and owns everything in it; any thread may read it. Errors are INTERNAL, because the
 * plugin broke its contract, and name the value by its path.
 */
#pragma once

#include "cni-bridge/cni.h"
#include "cni-bridge/cni_version.h"
#include "common/json.h"

enum {
    CNI_NO_INTERFACE = G_MAXINT32, /* the plugin did not report which interface has the address */
    CNI_SCOPE_LINK = 253,          /* of a route without a gateway */
};

/* Strings are borrowed from the document; "" when there is none. */
typedef struct {
    const char *name;
    const char *mac;
    const char *sandbox; /* "" for an interface of the host */
    guint32 mtu;
} CniOutputInterface;

typedef struct {
    char *address; /* canonical CIDR with the host's bits */
    char *gateway; /* NULL: none */
    gboolean ipv6;
    guint32 interface; /* index of interfaces, or CNI_NO_INTERFACE */
} CniOutputAddress;

typedef struct {
    CniRoute *route;
    gboolean ipv6;
    gboolean on_link;
} CniOutputRoute;

typedef struct {
    char *text; /* as the plugin printed it */
    JsonDocument *document;
    CniVersion version;
    GArray *interfaces; /* CniOutputInterface */
    GArray *addresses;  /* CniOutputAddress */
    GArray *routes;     /* CniOutputRoute */
    char *dns_domain;
    char **dns_servers; /* NULL: none, as below */
    char **dns_searches;
    char **dns_options;
} CniOutput;

/* configured is the version of the network's configuration, which holds when the output names none. */
CniOutput *cni_output_parse(const char *text, gsize length, CniVersion configured, GError **error);
void cni_output_free(CniOutput *output); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CniOutput, cni_output_free)

const CniOutputInterface *cni_output_interface(const CniOutput *output, guint index);
const CniOutputAddress *cni_output_address(const CniOutput *output, guint index);
const CniOutputRoute *cni_output_route(const CniOutput *output, guint index);
