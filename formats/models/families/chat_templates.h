/*
 * Chat templates of models whose folders have none, from data/chat-templates: texts that end with 0, which CMakeLists.txt
 * makes arrays of.
 */
#ifndef NB_CHAT_TEMPLATES_H
#define NB_CHAT_TEMPLATES_H

extern const unsigned char nb_chat_template_deepseek_v4[];
extern const unsigned char nb_chat_template_deepseek_v4_0731[];

#endif
