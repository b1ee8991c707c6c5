/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/paths.h"
#include "agent/guest/sysfile.h"

static bool env_has_home(JsonSpan env)
{
    JsonMembers elements = {.object = env};
    JsonSpan value;

    while (json_next_element(&elements, &value))
        if (value.length > 6 && memcmp(value.text, "\"HOME=", 6) == 0)
            return true;
    return false;
}

/* Appends rest, from its start to where HOME belongs, HOME, and what follows. `before` is the text of rest up
 * to and including the opening bracket of the environment, or of the process when that has no environment. */
static void append_with_home(JsonText *text, JsonSpan rest, size_t before, bool has_env, const char *home)
{
    char variable[USER_HOME_MAX + sizeof "HOME="];
    size_t next = before;

    snprintf(variable, sizeof variable, "HOME=%s", home);
    while (next < rest.length && strchr(" \t\r\n", rest.text[next]) != NULL)
        next++;
    bool is_empty = next < rest.length && (rest.text[next] == ']' || rest.text[next] == '}');
    json_append(text, rest.text, before);
    if (!has_env)
        json_append(text, "\"env\":[", 7);
    json_append_string(text, variable);
    if (!has_env)
        json_append(text, "]", 1);
    json_append(text, ",", is_empty ? 0 : 1);
    json_append(text, rest.text + before, rest.length - before);
}

static bool add_home(JsonText *config, const char *home)
{
    JsonSpan whole = {config->text, config->length}, process, env;
    JsonText text = {NULL, 0, 0, false};

    if (!json_find(whole, "process", &process) || process.text[0] != '{')
        return true; /* crun reports it */
    bool has_env = json_find(process, "env", &env) && env.text[0] == '[';
    if (has_env && env_has_home(env))
        return true;
    append_with_home(&text, whole, (size_t)((has_env ? env.text : process.text) - whole.text) + 1, has_env,
                     home);
    free(config->text);
    *config = text;
    return !text.failed;
}

bool config_build(const CreateContainerRequest *request, const Identity *identity, JsonText *ret_config,
                  Fault *ret_fault)
{
    static char user[USER_GROUPS_MAX * 11 + 128];
    size_t user_length = user_to_json(identity, user, sizeof user);
    JsonText text = {NULL, 0, 0, false};

    json_append(&text, (const char *)request->spec_before_user.data, request->spec_before_user.len);
    json_append(&text, user, user_length);
    json_append(&text, (const char *)request->spec_after_user.data, request->spec_after_user.len);
    if (text.failed || !add_home(&text, identity->home)) {
        free(text.text);
        return fault(ret_fault, FAULT_RESOURCE_EXHAUSTED,
                     "cannot write the configuration of container %s: out of memory in the guest",
                     request->id);
    }
    *ret_config = text;
    return true;
}

static void config_path(const char *id, char *ret_path, size_t room)
{
    snprintf(ret_path, room, CONTAINERS_DIR "/%s/config.json", id);
}

bool config_write(const char *id, const JsonText *config, Fault *ret_fault)
{
    char path[256];
    const Piece piece = {config->text, config->length};

    config_path(id, path, sizeof path);
    return file_put(path, 0600, &piece, 1, ret_fault);
}

bool config_read(const char *id, JsonText *ret_config, Fault *ret_fault)
{
    char path[256];
    struct stat status;

    config_path(id, path, sizeof path);
    if (stat(path, &status) < 0)
        return fault_errno(ret_fault, "reading %s", path);
    size_t room = (size_t)status.st_size + 1;
    char *text = malloc(room);
    if (text == NULL || !sysfile_read(path, text, room)) {
        fault_errno(ret_fault, "reading %s", path);
        free(text);
        return false;
    }
    *ret_config = (JsonText){.text = text, .length = strlen(text), .room = room};
    return true;
}
