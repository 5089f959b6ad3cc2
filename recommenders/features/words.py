"""TF-IDF of texts, without scikit-learn, which the serving process then does not need."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

MAX_WORDS = 4096
WORD = re.compile(r"[^\W\d_]{2,}")  # letters of any script; digits are pack sizes and model numbers


def tf_idf(texts: Sequence[str]) -> csr_array:
    """(n_texts, n_words) float32: (1 + ln count) x (ln((1 + n) / (1 + texts with the word)) + 1).

    Leaves out words that occur in only one text, as they match no other text. Keeps the MAX_WORDS most frequent
    of the rest. Manning, Raghavan & Schütze 2008, section 6.4; the smoothing is scikit-learn's.
    """
    counts = [Counter(WORD.findall(text.lower())) for text in texts]
    document_frequency: Counter[str] = Counter(word for count in counts for word in count)
    shared = sorted(
        ((n, word) for word, n in document_frequency.items() if n > 1), key=lambda pair: (-pair[0], pair[1])
    )
    column = {word: place for place, (_, word) in enumerate(shared[:MAX_WORDS])}
    idf = np.log((1 + len(texts)) / (1 + np.array([n for n, _ in shared[:MAX_WORDS]], dtype=np.float64))) + 1
    rows, columns, term_counts = [], [], []
    for row, count in enumerate(counts):
        for word, n in count.items():
            if word in column:
                rows.append(row)
                columns.append(column[word])
                term_counts.append(n)
    places = np.array(columns, dtype=np.int64)
    values = (1 + np.log(np.array(term_counts, dtype=np.float64))) * idf[places]
    return csr_array(
        (values.astype(np.float32), (np.array(rows, dtype=np.int64), places)), shape=(len(texts), len(column))
    )
