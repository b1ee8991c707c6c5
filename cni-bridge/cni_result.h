/* What a plugin prints after ADD, in all versions of the specification
 * (https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#section-5-result-types).
 *
 * Hostile until cni_output_parse() has checked it: sizes, address syntax, indices, duplicates. A CniOutput is
 * immutable. Errors are INTERNAL, because the plugin broke its contract.
 */
#pragma once

#include "cni-bridge/cni.h"
#include "cni-bridge/cni_json.h"
#include "cni-bridge/cni_version.h"

typedef struct CniOutput CniOutput;

/* asked: the version of the configuration, which holds when the output names none. */
CniOutput *cni_output_parse(const char *text, gsize length, CniVersion asked, GError **error);
void cni_output_free(CniOutput *output); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CniOutput, cni_output_free)

/* The text of it in that version, as prevResult for the next plugin. Unknown keys survive as long as nothing
 * must be converted. */
char *cni_output_json(const CniOutput *output, CniVersion version);

/* Its part about ifname inside the sandbox; json is the text as cni_output_parse() got it. Routes without a
 * gateway get that of the address of their family, as the plugins themselves do. INTERNAL when it says
 * something about ifname twice. */
CniResult *cni_output_result(const CniOutput *output, const char *ifname, GError **error);

CniRoute *cni_route_new(const char *destination, const char *gateway, guint32 mtu, guint32 metric);
void cni_route_free(gpointer route);
