/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin's output as JSON in any version of the specification: prevResult for the next plugin. */
#pragma once

#include "cni-bridge/cni_output.h"

/* Return: the text in that version, which the caller frees. Keys that we do not know survive as long as
 * nothing must be converted. */
char *cni_output_json(const CniOutput *output, CniVersion version);
