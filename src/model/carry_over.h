/* carry_over.h - what a folder holds beside a model and is to stay with it when the model is written in another form.
 *
 * A chat template is a program that mm1 does not run (chat_template.h); other programs do, so it stays as it is:
 *
 *     chat_template.jinja, chat_template.json            copied, byte for byte
 *     "chat_template" in tokenizer_config.json           a text, or a list of named ones: the same value there
 *     tokenizer.chat_template of a GGUF file             becomes chat_template.jinja
 *
 * A GGUF file has room for one text. */
#ifndef MM1_MODEL_CARRY_OVER_H
#define MM1_MODEL_CARRY_OVER_H

#include <mm1/error.h>

/* From the folder or GGUF file source into the folder dir, after all else was written there.  A source without a
 * template is fine.  MM1_E_FORMAT, MM1_E_LIMIT, MM1_E_IO, MM1_E_NOMEM, with the file. */
MM1_NODISCARD mm1_status mm1_carry_chat_template(const char *source, const char *dir, mm1_error *err);
/* The text alone, which the caller frees: the first in the order above; of named ones that of "default".  *out is NULL
 * if the source has none.  The same errors. */
MM1_NODISCARD mm1_status mm1_carry_chat_text(const char *source, char **out, mm1_error *err);

#endif
