/* SPDX-License-Identifier: Apache-2.0 */
/* A container's OCI runtime configuration, config.json. The daemon sends all of it except what depends on the
 * rootfs: the user and the user's HOME.
 */
#pragma once

#include "agent/guest/fault.h"
#include "agent/guest/json.h"
#include "agent/guest/messages.h"
#include "agent/guest/user.h"

/* Puts the configuration of the request together with the user. The environment gets HOME unless it has one.
 * The caller frees ret_config->text. */
bool config_build(const CreateContainerRequest *request, const Identity *identity, JsonText *ret_config,
                  Fault *ret_fault);

/* Writes CONTAINERS_DIR/ID/config.json. */
bool config_write(const char *id, const JsonText *config, Fault *ret_fault);

/* Reads it again. The caller frees ret_config->text. */
bool config_read(const char *id, JsonText *ret_config, Fault *ret_fault);
