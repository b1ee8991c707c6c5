/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to "401 Unauthorized": what to put into the Authorization header of the next request.
 *
 * Implements RFC 7235 challenges, HTTP Basic, and the distribution project's token authentication
 * (https://distribution.github.io/distribution/spec/auth/token/ and …/oauth/). The strings returned are
 * secrets: never log them.
 */
#pragma once

#include "image-service/registry/credentials.h"
#include "image-service/registry/transfer.h"

/* The parameters (lower-case name to value) of the first challenge of that scheme in a WWW-Authenticate
 * header; NULL when there is none. */
GHashTable *registry_challenge_find(const char *header, const char *scheme);

/* A 401 that the transfer has just got for url; everything is borrowed. */
typedef struct {
    Transfer *transfer;
    const char *url;
    const RegistryEndpoint *endpoint;
    const Credentials *credentials; /* NULL: none */
    const char *repository;
    gint64 progress_timeout_ms;
} RegistryAuthRequest;

/* Reads the challenges of the 401 and asks a token server when one is named. *ret_authorization is the value
 * of the header, which the caller wipes and frees. Errors: UNAUTHENTICATED when no challenge can be answered,
 * UNAVAILABLE when the token server does not answer (transfer_outcome() and _status() tell whether another
 * attempt is worth it). */
gboolean registry_auth_answer(const RegistryAuthRequest *request, const Deadline *deadline,
                              char **ret_authorization, GError **error);

/* From whom an answer is, which decides how much of it a message may hold: pods' events show the message. */
typedef enum {
    ANSWER_OF_REGISTRY,     /* its error's text, or the body */
    ANSWER_OF_TOKEN_SERVER, /* the text of an error in JSON */
    ANSWER_FROM_ELSEWHERE,  /* where a redirect led: the status alone */
} AnswerSource;

/* Return: a text of a server, ready for a message: printable, one line, at most 300 characters. */
char *registry_printable(const char *text);

/* Return: what a failed answer says about itself and when the registry may be asked again, ready for a
 * message: "HTTP 404: manifest unknown (MANIFEST_UNKNOWN)". It is printable, one line, and short. */
char *registry_describe_answer(const Transfer *transfer, AnswerSource source);

/* Whether two URLs have scheme, host and port in common, so that secrets for one may go to the other. */
gboolean registry_same_origin(const char *one, const char *other);
