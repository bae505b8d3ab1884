/* picture_store.h - pictures that a file of conversations names: below a folder, or members of tar files.
 *
 * A name is what the file says, "coco/000012.jpg": a path below the folder, or a member with or without "./" in front.
 * Names that lead out of the folder are refused; "/" as the folder allows absolute ones.
 *
 * Threads: mm1_picture_store_add() is thread-safe. */
#ifndef MM1_DATA_PICTURE_STORE_H
#define MM1_DATA_PICTURE_STORE_H

#include "model/document.h"

typedef struct mm1_picture_store mm1_picture_store; /* opaque */

/* where: a folder, or a pattern of tar files (mm1_path_glob()).  MM1_E_IO if it is not there; MM1_E_FORMAT for a tar
 * that is damaged; if two members have one name, the first counts. */
MM1_NODISCARD mm1_status mm1_picture_store_open(mm1_picture_store **out, const char *where, mm1_error *err);
void mm1_picture_store_close(mm1_picture_store *s); /* accepts NULL */

/* Appends the picture to the document.  MM1_E_FORMAT if there is none of this name, or it leads out of the folder. */
MM1_NODISCARD mm1_status mm1_picture_store_add(const mm1_picture_store *s, const char *name, mm1_document *out,
                                               mm1_error *err);

#endif
