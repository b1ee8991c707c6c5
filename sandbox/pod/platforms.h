/* SPDX-License-Identifier: Apache-2.0 */
/* The platforms by the kind of a handler. */
#pragma once

#include "sandbox/pods/handler.h"
#include "sandbox/pods/platform.h"

/* Return: constant. */
const PodPlatform *pod_platform(HandlerKind kind);
