/* roles.h - which tokens begin and end documents, as the folder of a model says.
 *
 *   bos  1. "add_bos_token" in tokenizer_config.json: false is none, true its "bos_token"
 *        2. tokenizer.json: what its TemplateProcessing puts before text, or nothing
 *        3. MM1_TOKEN_END if there is one: such models were trained with it between documents
 *   eos  what the RobertaProcessing of tokenizer.json puts behind text, if it has one; else
 *        "eos_token" of tokenizer_config.json, then "eos_token_id" (a number or a list) of generation_config.json, or
 *        of config.json (or its text_config) if that says nothing; nowhere: MM1_TOKEN_END
 *   pad  "pad_token", "pad_token_id" in the same order; nowhere: MM1_TOKEN_PAD
 *
 * Every file but tokenizer.json may be missing.  An id that is no special token of the tokenizer is left out with a
 * warning: defaults of a class stand in many files. */
#ifndef MM1_MODEL_ROLES_H
#define MM1_MODEL_ROLES_H

#include <mm1/tokenizer.h>

/* tokenizer.json with the roles that the files beside it give.  MM1_E_FORMAT if nothing ends a document. */
MM1_NODISCARD mm1_status mm1_roles_load(const char *tokenizer_path, mm1_tokenizer **out, mm1_error *err);

/* Adds an id to those that end a text, once; false if there is no room. */
bool mm1_roles_add_eos(mm1_token_roles *roles, int32_t id);
/* MM1_E_FORMAT if nothing ends a document; name is for the message. */
MM1_NODISCARD mm1_status mm1_roles_set(mm1_tokenizer *t, const mm1_token_roles *roles, const char *name,
                                       mm1_error *err);

#endif
