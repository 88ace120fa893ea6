"""Mathematical equality of a final answer and a gold answer, by the rules of a person who marks exams.

Layers, each one module: `final` finds the expression that counts, `notation` unifies its spelling, `structure` reads
lists, tuples, intervals and equations, `atoms` compares single values with units, `symbolic` compares expressions.
"""
