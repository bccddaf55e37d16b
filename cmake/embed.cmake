# embed.cmake -- files as a table inside the program: assembler with .incbin, and an index
#
# embed_files(out.S file...) defines  struct embedded_file embedded_files[]  (gen/embed.h), in the
# order given, ended by a null name.  Names are relative to the source folder.
function(embed_files out)
  set(data "")
  set(index "")
  set(number 0)
  foreach(file ${ARGN})
    string(APPEND data ".Lname${number}: .asciz \"${file}\"\n"
           ".balign 16\n.Ldata${number}: .incbin \"${CMAKE_SOURCE_DIR}/${file}\"\n"
           ".Lend${number}: .byte 0\n")
    string(APPEND index ".quad .Lname${number}, .Ldata${number}, .Lend${number} - .Ldata${number}\n")
    math(EXPR number "${number} + 1")
  endforeach()
  file(GENERATE OUTPUT ${out} CONTENT
"/* Made by cmake/embed.cmake. */
.section .rodata
${data}.section .data.rel.ro, \"aw\"
.balign 8
.globl embedded_files
embedded_files:
${index}.quad 0, 0, 0
.section .note.GNU-stack, \"\", @progbits
")
  list(TRANSFORM ARGN PREPEND ${CMAKE_SOURCE_DIR}/ OUTPUT_VARIABLE paths)
  set_source_files_properties(${out} PROPERTIES GENERATED TRUE OBJECT_DEPENDS "${paths}")
endfunction()
