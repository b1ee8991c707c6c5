/* SPDX-License-Identifier: Apache-2.0 */
/* The part of a plugin's output that is about a pod's own interface: what crivirtd uses of it. */
#pragma once

#include "cni-bridge/cni_output.h"

/* The part about ifname inside the sandbox; json is the text that cni_output_parse() got. A route without a
 * gateway gets that of the address of its family, as the plugins themselves do it. Return: a new result, or
 * NULL with INTERNAL when the output has ifname twice. */
CniResult *cni_output_result(const CniOutput *output, const char *ifname, GError **error);

CniRoute *cni_route_copy(const CniRoute *route);
void cni_route_free(gpointer route); /* takes NULL */
